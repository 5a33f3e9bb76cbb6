"""Pictures to and from files. A file appears whole under a new name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import re
import secrets
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from sfumato.errors import OutputError, RequestError, nearest
from sfumato.gallery import infotext, names, provenance
from sfumato.request import ImageInfo

#: Format name to file extension.
FORMATS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
#: Free space that must be there before a run starts, in bytes, beside the pictures themselves.
SPARE_BYTES = 1 << 20
QUALITY = 95
#: zlib's level for PNG: half the time of its usual 6, and at most a tenth more bytes for a drawn picture.
PNG_LEVEL = 4

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"
_TEMPORARY_PREFIX = ".sfumato-"


def save(
    image: Image.Image,
    info: ImageInfo,
    folder: Path,
    pattern: str = names.DEFAULT_PATTERN,
    format: str = "png",  # the field's own name
    metadata: str = "full",
    now: datetime | None = None,
) -> Path:
    """Writes one picture and returns its path, which no file had before.

    ``pattern`` is relative to ``folder`` (see `names`); ``now`` defaults to the local time. ``metadata`` is
    one of `provenance.LEVELS`: the mark is an XMP packet, and the infotext lies in the PNG text ``parameters``, or in
    the EXIF user comment of a JPEG or WebP.

    Raises:
        OutputError: the folder cannot be written, the disk is full, or the metadata does not fit the format.
        ConfigError: a wrong pattern.
        RequestError: an unknown format.
    """
    return place(describe(image, info, format, metadata), info, folder, pattern, format, now)


def describe(image: Image.Image, info: ImageInfo, format: str = "png", metadata: str = "full") -> bytes:
    """The bytes of the file that `save` writes."""
    text = infotext.write(info) if metadata == "full" else None
    return encode(image, format, text, marked=metadata != "none")


def place(
    data: bytes, info: ImageInfo, folder: Path, pattern: str, format: str = "png", now: datetime | None = None
) -> Path:
    """The part of `save` that gives a file its name; ``data`` is what `describe` made. Raises what `save` does."""
    relative = names.fill(pattern, info, datetime.now() if now is None else now)
    return place_at(data, folder.joinpath(*relative.parts), FORMATS[format])


def same(data: bytes, folder: Path, format: str, since: float) -> list[Path]:
    """The files below ``folder`` that have these very bytes and are not older than ``since`` (seconds since 1970)."""
    found = []
    for path in sorted(folder.rglob(f"*.{FORMATS[format]}")):
        facts = path.stat()
        if facts.st_size == len(data) and facts.st_mtime >= since - 1 and path.read_bytes() == data:
            found.append(path)
    return found


def encode(
    image: Image.Image, format: str, text: str | None, quality: int | None = None, marked: bool = False
) -> bytes:
    """The bytes of a picture file that carries ``text`` as A1111 does; none when it is None.

    ``quality`` is that of a JPEG or WebP, 0 to 100. A ``marked`` file says that a model made it.
    """
    quality = QUALITY if quality is None else quality
    if format not in FORMATS:
        hint = nearest(format, FORMATS) or "known: " + ", ".join(FORMATS)
        raise RequestError(f"Unknown picture format {format!r}; {hint}.")
    out = io.BytesIO()
    if format == "png":
        chunks = PngImagePlugin.PngInfo()
        if text is not None:
            chunks.add_text("parameters", text)
        if marked:
            chunks.add_itxt(provenance.PNG_KEY, provenance.XMP)
        image.save(out, "PNG", pnginfo=chunks, compress_level=PNG_LEVEL)
        return out.getvalue()
    exif = b"" if text is None else _exif(text)
    xmp = {"xmp": provenance.XMP.encode("utf-8")} if marked else {}
    try:
        if format == "jpeg":
            image.convert("RGB").save(out, "JPEG", quality=quality, subsampling=0, exif=exif, **xmp)
        else:
            image.save(out, "WEBP", quality=quality, exif=exif, **xmp)
    except ValueError as error:
        raise OutputError(
            f"The prompt is too long for the metadata of a {format} ({error}); use --format png or --metadata ai-flag."
        ) from error
    return out.getvalue()


def read(path: Path) -> str | None:
    """The infotext in a PNG, JPEG or WebP, or None when it has none.

    Raises:
        RequestError: there is no such file, or it is not a picture that can be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}; give a PNG, JPEG or WebP file.") from error
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str = "The picture") -> str | None:
    """`read` for the bytes of a file, which the message calls ``name``."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if isinstance(text := image.info.get("parameters"), str):
                return text
            comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, struct.error) as error:
        raise RequestError(f"{name} is not a picture that can be read; give a PNG, JPEG or WebP file.") from error
    except OSError as error:
        raise RequestError(f"{name} is damaged ({error}); give a PNG, JPEG or WebP file.") from error
    if isinstance(comment, str):
        return comment or None
    return _user_comment(bytes(comment)) if isinstance(comment, bytes) else None


def check_writable(folder: Path, need_bytes: int = 0) -> None:
    """Raises OutputError unless ``folder`` (made or not) can take new files; leaves nothing behind."""
    base = folder.absolute()
    while not base.exists() and base.parent != base:
        base = base.parent
    if not base.is_dir():
        raise OutputError(f"Output folder {folder}: {base} is a file; choose another with --outdir.")
    try:
        with tempfile.TemporaryFile(prefix=_TEMPORARY_PREFIX, dir=base) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(base).free
    except OSError as error:
        raise _output_error(folder, error) from error
    need = need_bytes + SPARE_BYTES
    if free < need:
        raise OutputError(
            f"Output folder {folder} is full: {free / 1e6:.1f} MB free, {need / 1e6:.1f} MB needed;"
            " make room or choose another with --outdir."
        )


def grid(images: Sequence[Image.Image]) -> Image.Image:
    """All pictures on one sheet, row by row, as near to a square of cells as their number allows.

    >>> grid([Image.new("RGB", (8, 4))] * 5).size
    (24, 8)
    """
    if not images:
        raise RequestError("A grid needs at least one picture.")
    width, height = max(image.width for image in images), max(image.height for image in images)
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height))
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * width, index // columns * height))
    return sheet


def _exif(text: str) -> bytes:
    # UTF-16 big-endian, whatever the byte order of the EXIF block: what piexif writes and A1111 reads.
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _UNICODE + text.encode("utf-16-be")
    return exif.tobytes()


def _user_comment(data: bytes) -> str | None:
    """The text of an EXIF user comment: an eight-byte name of the encoding, then the text."""
    body = data[8:]
    if data.startswith(_UNICODE):
        # Some writers use the byte order of the machine. Most letters have a zero byte: it tells which.
        little = body[1::2].count(0) > body[0::2].count(0)
        return body.decode("utf-16-le" if little else "utf-16-be", "replace").lstrip("\ufeff").rstrip("\0") or None
    if data.startswith(_ASCII):
        return body.decode("utf-8", "replace").rstrip("\0") or None
    return data.lstrip(b"\0").decode("utf-8", "replace").rstrip("\0") or None


def place_at(data: bytes, target: Path, extension: str) -> Path:
    """Puts ``data`` under the first free name; what it made on the way is gone again if it fails."""
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _write_temporary(data, target.parent)
        for candidate in _candidates(target, extension):
            if _rename_new(temporary, candidate):
                made = []
                return candidate
    except OSError as error:
        raise _output_error(target.parent, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
    raise OutputError(f"{target.parent}: no free file name for {target.name}; use [number] in output.pattern.")


def _write_temporary(data: bytes, folder: Path) -> Path:
    path = folder / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _rename_new(temporary: Path, target: Path) -> bool:
    """Gives the file its name unless the name is taken, in one step where the file system has links."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EMLINK}:
            raise
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        temporary.replace(target)
    return True


def _candidates(target: Path, extension: str) -> Iterator[Path]:
    name, limit = target.name, 100_000
    if names.NUMBER in name:
        first = _next_number(target)
        for number in range(first, first + limit):
            yield target.with_name(f"{name.replace(names.NUMBER, f'{number:05d}')}.{extension}")
        return
    yield target.with_name(f"{name}.{extension}")
    for number in range(1, limit):
        yield target.with_name(f"{name}-{number}.{extension}")


def _next_number(target: Path) -> int:
    """One more than the highest number that files of this folder have at that place of the pattern."""
    before = target.name.split(names.NUMBER)[0]
    numbered = re.compile(re.escape(before) + r"(\d{5,})")
    found = (numbered.match(entry.name) for entry in os.scandir(target.parent))
    return max((int(match.group(1)) for match in found if match), default=-1) + 1


def _output_error(folder: Path, error: OSError) -> OutputError:
    reason = {
        errno.EROFS: "is on a read-only file system",
        errno.EACCES: "is not writable",
        errno.EPERM: "is not writable",
        errno.ENOSPC: "is full",
        errno.EDQUOT: "is over its quota",
        errno.ENOTDIR: "has a file where a folder should be",
        errno.ENAMETOOLONG: "would get too long a name",
    }.get(error.errno or 0, f"cannot be written ({error.strerror or error})")
    return OutputError(f"Output folder {folder} {reason}; choose another with --outdir.")

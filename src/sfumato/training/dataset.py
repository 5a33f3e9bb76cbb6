"""What lies in a folder of pictures: which layout it is, what the pictures are called, and which can't be read."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from sfumato.errors import RequestError
from sfumato.training.settings import DataSettings

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
SIDECARS = (".txt", ".caption")
METADATA = ("metadata.jsonl", "metadata.csv")
#: ``10_my cat``: repeats, and the words for what is in the folder.
_KOHYA = re.compile(r"(\d+)_(.+)")
_REG = ("reg", "regularization", "class")


@dataclass(frozen=True)
class Item:
    """One picture of the data.

    ``weight`` multiplies its loss; ``size`` is (width, height) as it is shown; ``prior`` says
    that the base model drew it itself.
    """

    path: Path
    caption: str
    repeats: int = 1
    weight: float = 1.0
    size: tuple[int, int] = (0, 0)
    alpha: bool = False
    prior: bool = False


@dataclass(frozen=True)
class Dataset:
    """The readable pictures, the layout they were found in, and what was skipped with the reason."""

    items: tuple[Item, ...]
    layout: str
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def own(self) -> tuple[Item, ...]:
        """The user's pictures, without those that the base model drew."""
        return tuple(item for item in self.items if not item.prior)

    @property
    def manifest(self) -> str:
        """Twelve hex digits over names, sizes in bytes, words and repeats: changes when the data does."""
        whole = hashlib.sha256()
        for item in self.items:
            whole.update(f"{item.path.name}:{item.path.stat().st_size}:{item.caption}:{item.repeats}\n".encode())
        return whole.hexdigest()[:12]


def discover(settings: DataSettings) -> Dataset:
    """Find the pictures and their words.

    In this order: ``metadata.jsonl`` or ``metadata.csv`` (``file_name``, ``text``); kohya's ``N_name`` folders; else
    every picture below the folder, with a sidecar's words, ``--instance_prompt``, ``--caption``, or its file's name.

    Raises:
        RequestError: no folder, no picture in it, none that can be read, or a metadata file that is wrong.
    """
    folder = settings.data_dir
    if not folder.is_dir():
        raise RequestError(f"--data_dir {folder}: there is no such folder.")
    layout, found = _layout(folder, settings)
    if settings.reg_dir is not None:
        found = [*found, *_regularization(settings.reg_dir, settings)]
    readable, skipped = [], []
    for item in found:
        checked = check(item)
        if isinstance(checked, Item):
            readable.append(checked)
        else:
            skipped.append((item.path, checked))
    if not any(item.weight > 0 for item in readable):
        raise RequestError(_nothing(folder, skipped))
    return Dataset(tuple(readable), layout, tuple(skipped), tuple(_notes(readable, settings)))


def check(item: Item) -> Item | str:
    """The item with its size, or why its picture can't be used. The whole picture is decoded, once."""
    try:
        with Image.open(item.path) as picture:
            picture.load()
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = picture.size[::-1] if turned else picture.size
            alpha = "A" in picture.getbands() or "transparency" in picture.info
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise whatever a damaged file makes of them
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if min(width, height) < 16:
        return f"it is only {width}x{height} pixels"
    return Item(item.path, item.caption, item.repeats, item.weight, (width, height), alpha)


def _layout(folder: Path, settings: DataSettings) -> tuple[str, list[Item]]:
    for name in METADATA:
        if (folder / name).is_file():
            return name, _from_metadata(folder / name)
    kohya = [p for p in sorted(folder.iterdir()) if p.is_dir() and _KOHYA.fullmatch(p.name)]
    if kohya:
        return "kohya folders", [item for sub in kohya for item in _from_kohya(sub, 1.0)] + [
            item
            for reg in sorted(folder.iterdir())
            if reg.is_dir() and reg.name.lower() in _REG
            for item in _regularization(reg, settings)
        ]
    words = settings.instance_prompt or settings.caption
    items = [Item(path, _sidecar(path) or words or _stem(path)) for path in _pictures(folder)]
    if settings.instance_prompt is not None:
        return "DreamBooth", items
    sidecars = sum(_sidecar(item.path) is not None for item in items)
    return (f"plain folder, {sidecars} of {len(items)} with a caption file" if sidecars else "plain folder"), items


def _regularization(folder: Path, settings: DataSettings) -> list[Item]:
    if not folder.is_dir():
        raise RequestError(f"--reg_dir {folder}: there is no such folder.")
    subs = [p for p in sorted(folder.iterdir()) if p.is_dir() and _KOHYA.fullmatch(p.name)]
    if subs:
        return [item for sub in subs for item in _from_kohya(sub, settings.prior_weight)]
    words = settings.class_prompt
    return [Item(p, _sidecar(p) or words or _stem(p), 1, settings.prior_weight) for p in _pictures(folder)]


def _from_kohya(folder: Path, weight: float) -> Iterator[Item]:
    match = _KOHYA.fullmatch(folder.name)
    assert match is not None
    for path in _pictures(folder):
        yield Item(path, _sidecar(path) or match[2].strip(), int(match[1]), weight)


def _from_metadata(file: Path) -> list[Item]:
    items = []
    for line, row in _rows(file):
        name, text = row.get("file_name"), row.get("text", row.get("caption"))
        if not isinstance(name, str) or not isinstance(text, str):
            raise RequestError(f"{file}:{line}: each row needs file_name and text; it has {', '.join(row) or 'none'}.")
        path = file.parent / name
        if not path.resolve().is_relative_to(file.parent.resolve()):
            raise RequestError(f"{file}:{line}: {name} lies outside of the folder.")
        items.append(Item(path, text))
    return items


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file}: can't be read ({error}); it must be UTF-8 text.") from error
    if file.suffix == ".csv":
        yield from enumerate(csv.DictReader(text.splitlines()), 2)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RequestError(f"{file}:{number}: is not JSON ({error}).") from error
            yield number, row if isinstance(row, dict) else {}


def _pictures(folder: Path) -> list[Path]:
    def hidden(path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    return [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in ENDINGS and p.is_file() and not hidden(p)]


def _sidecar(path: Path) -> str | None:
    for ending in SIDECARS:
        file = path.with_suffix(ending)
        if file.is_file():
            try:
                lines = file.read_text(encoding="utf-8-sig").strip().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise RequestError(f"{file}: can't be read ({error}); it must be UTF-8 text.") from error
            if lines:
                return lines[0].strip()
    return None


def _stem(path: Path) -> str:
    """``red_apple-02`` to ``red apple``: words, without the number at the end."""
    words = re.sub(r"[_\s]+", " ", path.stem).strip()
    return re.sub(r"[\s-]*\(?\d+\)?$", "", words).strip() or words


def _nothing(folder: Path, skipped: list[tuple[Path, str]]) -> str:
    if not skipped:
        return f"--data_dir {folder}: there is no picture in it; put {', '.join(ENDINGS[:4])} files there."
    some = "; ".join(f"{path.name} ({why})" for path, why in skipped[:3])
    return f"--data_dir {folder}: none of its {len(skipped)} pictures can be read: {some}."


def _notes(items: list[Item], settings: DataSettings) -> Iterator[str]:
    own = [item for item in items if item.weight > 0]
    if settings.caption is None and settings.instance_prompt is None and all(_stem(i.path) == i.caption for i in own):
        yield "no captions were found: each picture is called by its file's name; --caption gives words for all"
    if settings.masked_loss and not any(item.alpha for item in items):
        yield "--masked_loss was asked for, but no picture has transparency; every pixel counts"

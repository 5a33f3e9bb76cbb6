"""The gallery: a folder of pictures that is looked through, marked and tidied. The files are the truth."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from sfumato.errors import RequestError
from sfumato.gallery import foreign, marks
from sfumato.gallery.index import Index, Query
from sfumato.gallery.marks import Marks
from sfumato.runtime.atomic import write_whole

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
#: Our own folder in that of the pictures; what begins with a dot is not looked through.
HOME = ".sfumato"
#: A folder with such a file in it is not looked through either; runs of training put one into theirs.
NO_MEDIA = ".nomedia"
THUMBNAIL_SIDE = 256
#: Of the label of a picture among many.
LABEL_LETTERS = 100


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture. ``id`` is made from ``path``, which is relative to the folder, with forward slashes."""

    id: str
    path: str
    created: float
    bytes: int
    facts: foreign.Facts
    marks: Marks


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of the pictures that fit a query, and how many fit in all."""

    total: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Brief:
    """A picture as one of many: ``label`` is its prompt's first letters, or its path's."""

    id: str
    created: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Trashed:
    """A picture in the trash: ``path`` is where it was."""

    id: str
    path: str


class Gallery:
    """The pictures of one folder. Every method may be called from any thread.

    A picture is named by an id that is looked up, never by a path, so no caller can leave the folder.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` gets ``.sfumato`` with the index, thumbnails and trash; all but the trash can be made anew.

        Raises:
            OutputError: it can't be written.
        """
        self.folder = folder.absolute()
        self._home = self.folder / HOME
        self._index = Index(self._home / "index.sqlite")
        self._scanning, self._closing = threading.Lock(), False

    def close(self) -> None:
        """Ends a scan after the picture that it is at, and closes the index."""
        self._closing = True
        with self._scanning:
            self._index.close()

    def scan(self) -> int:
        """Bring the index up to date with the folder; returns how many pictures came, changed or went."""
        with self._scanning:
            return 0 if self._closing else self._scan()

    def _scan(self) -> int:
        known, changed = self._index.stamps(), 0
        for path in self._files():
            if self._closing:
                return changed
            relative = path.relative_to(self.folder).as_posix()
            stamp = _stamp(path)
            if stamp is not None and known.pop(relative, None) != stamp:
                self.add(path)
                changed += 1
        for gone in known:
            self._index.drop(gone)
        return changed + len(known)

    def rebuild(self) -> int:
        """Read every file anew; returns how many pictures there are."""
        for path in self._index.stamps():
            self._index.drop(path)
        return self.scan()

    def add(self, path: Path) -> Entry:
        """Index one picture file of the folder.

        Raises:
            RequestError: it is not in the folder, or is gone.
        """
        relative = self._relative(path)
        try:
            facts = foreign.read(path)
        except RequestError:  # shown as what it is: a file that ends like a picture
            facts = foreign.Facts(width=0, height=0)
        stamp = _stamp(path)
        if stamp is None:
            raise RequestError(f"{path} is not there any more.")
        state, mine = path.stat(), marks.read(path)
        row = {
            **asdict(facts),
            "id": identify(relative),
            "path": relative,
            "stamp": stamp,
            "created": state.st_mtime,
            "bytes": state.st_size,
            "rating": mine.rating,
            "favourite": int(mine.favourite),
            "tags": "\n".join(mine.tags),
        }
        self._index.put(row)
        return self.get(row["id"])

    def get(self, id: str) -> Entry:
        """One picture.

        Raises:
            RequestError: there is none of this id.
        """
        rows = self._index.read("SELECT * FROM pictures WHERE id = ?", (id,))
        if not rows:
            raise RequestError(f"There is no picture {id!r} in the gallery.")
        return _entry(rows[0])

    def file(self, id: str) -> Path:
        """Where a picture lies. Raises RequestError if there is none of this id, or its file is gone."""
        path = self.folder / self.get(id).path
        if path.is_symlink() or not path.is_file():
            raise RequestError(f"The file of picture {id!r} is gone; scan the gallery.")
        return path

    def search(self, query: Query) -> Page:
        """The pictures that fit, the newest first."""
        total, rows = self._index.search(query)
        return Page(total=total, entries=tuple(_entry(row) for row in rows))

    def order(self, query: Query) -> tuple[Brief, ...]:
        """All pictures that fit, the newest first; ``limit`` and ``offset`` of the query do not count."""
        return tuple(Brief(**dict(row)) for row in self._index.order(query, LABEL_LETTERS))

    def mark(self, id: str, **changes: object) -> Entry:
        """Change ``rating``, ``favourite`` or ``tags`` of a picture.

        Raises:
            RequestError: there is none, or a mark is out of range. OutputError: the folder can't be written.
        """
        path = self.file(id)
        wanted = marks.checked(replace(marks.read(path), **changes))  # pyright: ignore[reportArgumentType]
        marks.write(path, wanted)
        return self.add(path)

    def thumbnail(self, id: str) -> bytes:
        """A WebP of at most 256 pixels a side.

        Raises:
            RequestError: there is no such picture, or it can't be read.
        """
        path = self.file(id)
        name = hashlib.sha256(f"{id} {_stamp(path)}".encode()).hexdigest()
        kept = self._home / "thumbnails" / f"{name}.webp"
        if not kept.exists():
            write_whole(kept, thumbnail_of(path))
        return kept.read_bytes()

    def trash(self, id: str) -> Trashed:
        """Move a picture and its marks to the trash.

        Raises:
            RequestError: there is none.
        """
        path, relative = self.file(id), self.get(id).path
        token = secrets.token_hex(8)
        _move(path, self._home / "trash" / token / relative)
        self._index.drop(relative)
        return Trashed(id=token, path=relative)

    def trashed(self) -> Sequence[Trashed]:
        """What is in the trash."""
        root = self._home / "trash"
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix.lower() in ENDINGS]
        parts = [path.relative_to(root) for path in files]
        return tuple(Trashed(id=part.parts[0], path=PurePosixPath(*part.parts[1:]).as_posix()) for part in parts)

    def restore(self, id: str) -> Entry:
        """Put a picture back where it was; if the name is taken by now, beside it.

        Raises:
            RequestError: the trash has none of this id.
        """
        found = self._in_trash(id)
        target = self.folder / found.path
        for number in range(1, 10_000):
            if not target.exists():
                break
            target = target.with_name(f"{Path(found.path).stem}-{number}{Path(found.path).suffix}")
        _move(self._home / "trash" / id / found.path, target)
        return self.add(target)

    def delete(self, id: str) -> None:
        """Delete a picture of the trash for good. Raises RequestError if it is not there."""
        found = self._in_trash(id)
        path = self._home / "trash" / id / found.path
        marks.sidecar(path).unlink(missing_ok=True)
        path.unlink()

    def models(self) -> dict[str, int]:
        """Every model that pictures name, with their number."""
        rows = self._index.read("SELECT model, count(*) AS n FROM pictures WHERE model != '' GROUP BY model")
        return {row["model"]: row["n"] for row in rows}

    def tags(self) -> dict[str, int]:
        """Every tag in alphabetical order, with the number of its pictures."""
        rows = self._index.read("SELECT tags FROM pictures WHERE tags != ''")
        return dict(sorted(Counter(tag for row in rows for tag in row["tags"].split("\n")).items()))

    def _in_trash(self, id: str) -> Trashed:
        found = next((each for each in self.trashed() if each.id == id), None)
        if found is None:
            raise RequestError(f"There is no picture {id!r} in the trash.")
        return found

    def _relative(self, path: Path) -> str:
        try:
            relative = path.absolute().resolve().relative_to(self.folder.resolve())
        except ValueError:
            raise RequestError(f"{path} is not in the gallery's folder {self.folder}.") from None
        return relative.as_posix()

    def _files(self) -> Iterator[Path]:
        for where, inside, names in os.walk(self.folder):
            if NO_MEDIA in names:
                inside.clear()
                continue
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            for name in sorted(names):
                path = Path(where, name)
                if path.suffix.lower() in ENDINGS and not name.startswith(".") and not path.is_symlink():
                    yield path


def thumbnail_of(path: Path) -> bytes:
    """A WebP of at most 256 pixels a side. Raises RequestError: it can't be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (THUMBNAIL_SIDE * 2, THUMBNAIL_SIDE * 2))
            small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestError(f"Picture {path.name} can't be read: {error}") from error
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=85)
    return out.getvalue()


def identify(relative: str) -> str:
    """A picture's id: 32 hexadecimal digits of its relative path's hash, the same after every rebuild."""
    return hashlib.sha256(relative.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _stamp(path: Path) -> str | None:
    """What changes when the file or its sidecar does; None if it is gone."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    side = marks.sidecar(path)
    beside = side.stat().st_mtime_ns if side.exists() else 0
    return f"{state.st_mtime_ns} {state.st_size} {beside}"


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if marks.sidecar(source).exists():
        marks.sidecar(source).replace(marks.sidecar(target))
    source.replace(target)


def _entry(row: sqlite3.Row) -> Entry:
    names = tuple(foreign.Facts.__dataclass_fields__)
    mine = Marks(
        rating=row["rating"], favourite=bool(row["favourite"]), tags=tuple(filter(None, row["tags"].split("\n")))
    )
    facts = foreign.Facts(**{name: row[name] for name in names})
    return Entry(id=row["id"], path=row["path"], created=row["created"], bytes=row["bytes"], facts=facts, marks=mine)

"""A small picture of each model: the one that lies beside its file, else the newest that was made by it."""

from __future__ import annotations

from pathlib import Path

from sfumato.families.models_folder import display_name
from sfumato.gallery.album import ENDINGS, Entry, Gallery, thumbnail_of
from sfumato.gallery.index import Query


def beside(model: Path) -> Path | None:
    """The picture beside a model: ``NAME.preview.png`` or ``NAME.png``, also ``.jpg``, ``.jpeg`` and ``.webp``."""
    names = (f"{display_name(model)}{part}{ending}" for part in (".preview", "") for ending in ENDINGS)
    return next((path for path in (model.parent / name for name in names) if path.is_file()), None)


def newest(name: str, gallery: Gallery) -> Entry | None:
    """The newest picture of the gallery that names the model."""
    return next(iter(gallery.search(Query(model=name, limit=1)).entries), None)


def portrait(name: str, model: Path, gallery: Gallery) -> bytes | None:
    """A WebP of at most 256 pixels a side; None where there is no picture.

    Raises:
        RequestError: it can't be read.
    """
    if (path := beside(model)) is not None:
        return thumbnail_of(path)
    entry = newest(name, gallery)
    return None if entry is None else gallery.thumbnail(entry.id)

"""Requests as JSON and back: any frozen value of :mod:`sfumato.request`, with its pictures as files beside.

A dataclass becomes ``{"$type": name, field: value, ...}``, a tuple ``{"$tuple": [...]}``, a mapping ``{"$map": [[key,
value], ...]}``, a path ``{"$path": text}`` and a picture ``{"$picture": name}``: the name of a PNG file that is called
by the hash of its pixels, so the same picture lies there once and the same request always gives the same text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from sfumato import request as values
from sfumato.errors import JobError, RequestError
from sfumato.runtime.atomic import write_whole

#: The modes that a PNG keeps to the bit.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def dump(value: object, pictures: Path | None) -> str:
    """A value as JSON; the pictures in it are written to the folder ``pictures``.

    Raises:
        RequestError: a picture of a mode that PNG does not keep, or where there may be none.
        OutputError: a picture can't be written.
        TypeError: a value of a type that no request has.
    """
    return json.dumps(_plain(value, pictures), sort_keys=True, ensure_ascii=False)


def load(text: str, pictures: Path | None, *, pixels: bool = True) -> Any:
    """The value again. Without ``pixels`` its pictures have their mode and size alone: nothing of them is decoded, and
    their files are closed.

    Raises:
        JobError: another version of the program stored it, or a picture of it is gone.
    """
    try:
        return _value(json.loads(text), lambda name: _read(name, pictures, pixels=pixels))
    except (AttributeError, TypeError, ValueError, KeyError, OSError) as error:
        raise JobError(
            f"A stored request can't be read ({error}): another version stored it, or a file is gone."
        ) from error


def named_pictures(text: str) -> set[str]:
    """The file names of the pictures that a stored request has."""
    found: set[str] = set()

    def look(pairs: dict[str, Any]) -> dict[str, Any]:
        if isinstance(name := pairs.get("$picture"), str):
            found.add(name)
        return pairs

    json.loads(text, object_hook=look)
    return found


def _plain(value: object, pictures: Path | None) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Image.Image):
        return {"$picture": _store(value, pictures)}
    if is_dataclass(value) and not isinstance(value, type) and getattr(values, type(value).__name__, None):
        named = {one.name: _plain(getattr(value, one.name), pictures) for one in fields(value)}
        return {"$type": type(value).__name__, **named}
    if isinstance(value, Mapping):
        return {"$map": [[_plain(key, pictures), _plain(each, pictures)] for key, each in value.items()]}
    if isinstance(value, tuple | list):
        return {"$tuple": [_plain(each, pictures) for each in value]}
    if isinstance(value, PurePath):
        return {"$path": str(value)}
    raise TypeError(f"a {type(value).__name__} can't be stored in a request")


def _value(plain: Any, read: Callable[[str], Image.Image]) -> Any:
    if not isinstance(plain, dict):
        return plain
    if "$type" in plain:
        kind = getattr(values, plain["$type"])
        return kind(**{name: _value(each, read) for name, each in plain.items() if name != "$type"})
    if "$tuple" in plain:
        return tuple(_value(each, read) for each in plain["$tuple"])
    if "$map" in plain:
        return {_value(key, read): _value(each, read) for key, each in plain["$map"]}
    if "$path" in plain:
        return Path(plain["$path"])
    return read(plain["$picture"])


def _read(name: str, pictures: Path | None, *, pixels: bool) -> Image.Image:
    if pictures is None:
        raise ValueError("a picture where there may be none")
    with Image.open(pictures / name) as image:
        if not pixels:
            return image
        image.load()
        return image.copy()


def _store(image: Image.Image, pictures: Path | None) -> str:
    if pictures is None or image.mode not in _MODES:
        raise RequestError(f"A picture of mode {image.mode} can't be stored; convert it to RGB, RGBA or L.")
    facts = (
        f"{image.mode} {image.size} {image.getpalette() if image.mode == 'P' else ''} {image.info.get('transparency')}"
    )
    name = hashlib.sha256(facts.encode() + image.tobytes()).hexdigest() + ".png"
    if not (pictures / name).exists():
        write_whole(pictures / name, lambda file: image.save(file, "PNG", compress_level=1))
    return name

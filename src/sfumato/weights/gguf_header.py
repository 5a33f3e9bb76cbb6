"""What a GGUF file says of its tensors, read without the tensors, without torch, and with every number checked.

The layout is that of ggml's ``docs/gguf.md``, versions 2 and 3. A file that passes here holds all that it claims to.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sfumato.errors import CheckpointError
from sfumato.weights.dtypes import GGUF_TYPES, SIZES
from sfumato.weights.header import MAX_HEADER, MAX_TENSORS, Header, TensorInfo, refusing

#: ComfyUI-GGUF's metadata: a reshaped tensor's own shape.
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
#: More than any model has. What they bound is the time and the memory that a header takes to read.
MAX_VALUES, MAX_DIMENSIONS, MAX_NAME = 20_000, 4, 1024
_SCALARS = "BbHhIif?"
_STRING, _ARRAY, _WIDE = 8, 9, {10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Extent:
    """Where a tensor's bytes lie: from the start of the file."""

    offset: int
    bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """A file's tensors as safetensors' headers have them, and where each one lies."""

    header: Header
    extents: dict[str, Extent]


def read_gguf_header(path: Path) -> GgufHeader:
    """The names, types, shapes and places of a GGUF file's tensors, and its short texts.

    Raises:
        CheckpointError: the file is missing or truncated, or claims what it can't hold.
    """
    with refusing(path), path.open("rb") as file:
        try:
            return _Reader(file, path.stat().st_size).read()
        except (ValueError, struct.error, OverflowError) as error:
            raise CheckpointError(f"{path}: not a whole GGUF file ({error}); copy or download it again") from error


class _Reader:
    """One pass over a header. Raises ValueError with the reason; the caller says of which file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._values = file, size, 0

    def read(self) -> GgufHeader:
        if self._take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        (version,) = self._unpack("I")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not known")
        tensors, entries = self._unpack("QQ")
        if tensors > MAX_TENSORS or entries > MAX_VALUES:
            raise ValueError(f"it claims {tensors} tensors and {entries} entries")
        metadata = dict(self._entry() for _ in range(entries))
        stored = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment!r}")
        start = -(-self._file.tell() // alignment) * alignment
        extents = {name: Extent(start + offset, info.bytes) for name, info, offset in stored}
        if len(extents) < len(stored):
            raise ValueError("two tensors have one name")
        self._check_extents(extents)
        shapes = {name: _own_shape(name, info, metadata) for name, info, _ in stored}
        infos = {name: TensorInfo(info.dtype, shapes[name]) for name, info, _ in stored}
        return GgufHeader(Header(infos, {k: v for k, v in metadata.items() if isinstance(v, str)}), extents)

    def _take(self, count: int) -> bytes:
        if count > MAX_HEADER or self._file.tell() + count > MAX_HEADER:
            raise ValueError(f"its header is longer than {MAX_HEADER} bytes")
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError(f"it ends at byte {self._size}, within its header")
        return data

    def _unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))

    def _text(self) -> str:
        (length,) = self._unpack("Q")
        return self._take(length).decode("utf-8", errors="replace")

    def _entry(self) -> tuple[str, Any]:
        name = self._text()
        (kind,) = self._unpack("I")
        return name, self._value(kind)

    def _value(self, kind: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values, as only language models do")
        if kind < len(_SCALARS):
            return self._unpack(_SCALARS[kind])[0]
        if kind in _WIDE:
            return self._unpack(_WIDE[kind])[0]
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise ValueError(f"a value is of type {kind}, which is not known")
        item, count = self._unpack("IQ")
        if item == _ARRAY:
            raise ValueError("an array lies in an array")
        if count > MAX_VALUES:
            raise ValueError(f"an array claims {count} values")
        return tuple(self._value(item) for _ in range(count))

    def _tensor(self) -> tuple[str, TensorInfo, int]:
        name = self._text()
        if len(name) > MAX_NAME:
            raise ValueError(f"a tensor's name has {len(name)} letters")
        (count,) = self._unpack("I")
        if count > MAX_DIMENSIONS:
            raise ValueError(f"{name!r} has {count} dimensions")
        sides = self._unpack(f"{count}Q")
        number, offset = self._unpack("IQ")
        kind = GGUF_TYPES.get(number, "-")
        if kind not in SIZES:
            raise ValueError(f"{name!r} is of type {number}, which is not known")
        if 0 in sides or math.prod(sides) > 2**48 or (sides and sides[0] % SIZES[kind][0]):
            raise ValueError(f"{name!r} has the shape {sides}, which can't be in {kind}")
        return name, TensorInfo(kind, tuple(reversed(sides))), offset

    def _check_extents(self, extents: dict[str, Extent]) -> None:
        end = 0
        for name, extent in sorted(extents.items(), key=lambda item: item[1].offset):
            if extent.offset < end:
                raise ValueError(f"{name!r} lies on another tensor")
            end = extent.offset + extent.bytes
            if end > self._size:
                raise ValueError(f"{name!r} ends at byte {end} and the file at {self._size}")


def _own_shape(name: str, info: TensorInfo, metadata: dict[str, Any]) -> tuple[int, ...]:
    """The tensor's shape before ComfyUI-GGUF laid it out in rows of 256."""
    original = metadata.get(ORIGINAL_SHAPE + name)
    if original is None:
        return info.shape
    whole = isinstance(original, tuple) and all(type(side) is int and side > 0 for side in original)
    if not whole or math.prod(original) != info.numbers:
        raise ValueError(f"{name!r}: its shape {original!r} does not fit the {info.numbers} numbers it has")
    return original

"""GGUF files: tensors by name, in full or as they are packed.

Three writers' files are read: ours, stable-diffusion.cpp's (no metadata), and ComfyUI-GGUF's (tensors that were
reshaped to rows of 256, with their shapes in the metadata).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.blocks import HELD, Blocks, Stored
from sfumato.weights.gguf_header import ORIGINAL_SHAPE, read_gguf_header
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.source import NamedTensors

_PLAIN = {
    GGMLQuantizationType.F32: np.float32,
    GGMLQuantizationType.F16: np.float16,
    GGMLQuantizationType.F64: np.float64,
    GGMLQuantizationType.I64: np.int64,
    GGMLQuantizationType.I32: np.int32,
}


@dataclass(frozen=True)
class _Place:
    """A tensor's type, and where it lies in the file."""

    kind: GGMLQuantizationType
    offset: int
    bytes: int


class GgufSource(NamedTensors):
    """One GGUF file, mapped.

    Raises:
        CheckpointError: at opening, if it is missing, truncated or not a GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        read_gguf_header(path)  # the library trusts what it reads, so it is given only what has been checked
        try:
            reader = GGUFReader(path)
        except Exception as error:  # the reader has no error of its own: whatever numpy makes of wrong offsets
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise CheckpointError(f"{path}: not a whole GGUF file ({reason}); copy or download it again") from error
        self._tensors = {t.name: _Place(t.tensor_type, t.data_offset, int(t.n_bytes)) for t in reader.tensors}
        self._shapes = {tensor.name: _shape(reader, tensor) for tensor in reader.tensors}
        self.header = Header(
            {name: TensorInfo(place.kind.name, self._shapes[name]) for name, place in self._tensors.items()},
            _metadata(reader),
        )

    def get(self, name: str) -> Tensor:
        """The tensor in its own shape: packed ones as float32, others in the file's type.

        Raises:
            CheckpointError: there is no such tensor, or it is packed in a way that can't be read.
        """
        kind, shape, data = self._known(name).kind, self._shapes[name], self._bytes(name)
        if kind in _PLAIN:
            return torch.from_numpy(np.array(data.view(_PLAIN[kind]))).reshape(shape)
        if kind == GGMLQuantizationType.BF16:
            return torch.from_numpy(np.array(data.view(np.int16))).view(torch.bfloat16).reshape(shape)
        try:
            rows = data.reshape(-1, GGML_QUANT_SIZES[kind][1])
            return torch.from_numpy(dequantize(rows, kind)).reshape(shape)
        except (NotImplementedError, KeyError, ValueError) as error:
            raise CheckpointError(f"{self.paths[0]}: {name} is packed as {kind.name}, which can't be read") from error

    def stored(self, name: str) -> Stored:
        """The tensor as it lies in the file, mapped: packed ones, and those in half precision, as blocks.

        Raises:
            CheckpointError: there is no such tensor, or it is packed in a way that can't be read.
        """
        kind = self._known(name).kind
        if kind.name not in HELD:
            return self.get(name)
        # Shaped before it is a tensor: a tensor's view holds the mapping also when its own data is replaced.
        data = torch.from_numpy(self._bytes(name).reshape(-1, GGML_QUANT_SIZES[kind][1]))
        return Blocks(data, kind.name, torch.Size(self._shapes[name]))

    def _bytes(self, name: str) -> np.ndarray:
        """A mapping of the tensor's own, whose pages are given back with it."""
        place = self._known(name)
        return np.memmap(self.paths[0], np.uint8, "c", place.offset, (place.bytes,))


def _shape(reader: GGUFReader, tensor: Any) -> tuple[int, ...]:
    """The tensor's shape as PyTorch has it: GGUF's is the other way round."""
    field = reader.get_field(ORIGINAL_SHAPE + tensor.name)
    stored = tuple(int(n) for n in reversed(tensor.shape))
    if field is None:
        return stored
    original = tuple(int(field.parts[k][0]) for k in field.data)
    if math.prod(original) != math.prod(stored):
        raise CheckpointError(
            f"{tensor.name}: its shape {original} does not fit the {math.prod(stored)} numbers it has"
        )
    return original


def _metadata(reader: GGUFReader) -> dict[str, str]:
    """The file's short texts; shapes and arrays are left out."""
    out = {}
    for name, field in reader.fields.items():
        if field.types and field.types[0].name == "STRING" and len(field.types) == 1:
            out[name] = str(bytes(field.parts[-1]), encoding="utf-8", errors="replace")
    return out

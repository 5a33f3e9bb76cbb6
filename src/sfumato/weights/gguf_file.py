"""GGUF files: tensors by name, in full or as they are packed.

Three writers' files are read: ours, stable-diffusion.cpp's (no metadata), and ComfyUI-GGUF's (tensors that were
reshaped to rows of 256, with their shapes in the metadata).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.source import NamedTensors

#: ComfyUI-GGUF's metadata: a reshaped tensor's own shape.
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_PLAIN = {
    GGMLQuantizationType.F32: np.float32,
    GGMLQuantizationType.F16: np.float16,
    GGMLQuantizationType.F64: np.float64,
    GGMLQuantizationType.I64: np.int64,
    GGMLQuantizationType.I32: np.int32,
}


class GgufSource(NamedTensors):
    """One GGUF file, mapped.

    Raises:
        CheckpointError: at opening, if it is missing, truncated or not a GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no such file")
        try:
            reader = GGUFReader(path)
        except Exception as error:  # the reader has no error of its own: whatever numpy makes of wrong offsets
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise CheckpointError(f"{path}: not a whole GGUF file ({reason}); copy or download it again") from error
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._shapes = {name: _shape(reader, tensor) for name, tensor in self._tensors.items()}
        self.header = Header(
            {name: TensorInfo(t.tensor_type.name, self._shapes[name]) for name, t in self._tensors.items()},
            _metadata(reader),
        )

    def get(self, name: str) -> Tensor:
        """The tensor in its own shape: packed ones as float32, others in the file's type.

        Raises:
            CheckpointError: there is no such tensor, or it is packed in a way that can't be read.
        """
        tensor = self._known(name)
        kind, shape = tensor.tensor_type, self._shapes[name]
        data = np.asarray(tensor.data)
        if kind in _PLAIN:
            return torch.from_numpy(np.array(data.view(_PLAIN[kind]))).reshape(shape)
        if kind == GGMLQuantizationType.BF16:
            return torch.from_numpy(np.array(data.view(np.int16))).view(torch.bfloat16).reshape(shape)
        try:
            return torch.from_numpy(dequantize(data, kind)).reshape(shape)
        except (NotImplementedError, KeyError, ValueError) as error:
            raise CheckpointError(f"{self.paths[0]}: {name} is packed as {kind.name}, which can't be read") from error


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

"""PyTorch's own checkpoints (``.ckpt``, ``.pt``, ``.bin``): read by torch's restricted loader, which runs nothing.

What a training framework left in the file beside the weights becomes empty stand-ins.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.header import Header, TensorInfo, refusing
from sfumato.weights.pickle_header import DEPTH, INSIDE, read_pickle_header
from sfumato.weights.source import NamedTensors

#: Names of types as safetensors has them.
_TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
          torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip
#: Where torch notes a storage's place in the file.
_PLACE = "_checkpoint_offset"
_FORBIDDEN = re.compile(r"(?:Unsupported (?:global|class)|GLOBAL) ([\w.]+)", re.IGNORECASE)


class PickledSource(NamedTensors):
    """One PyTorch checkpoint, mapped where its format allows. Tensors by name; everything else in it is left out.

    Raises:
        CheckpointError: at opening, if it is damaged, wants to run code, or has no weights.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        read_pickle_header(path)  # refuses what would take all memory, which the loader does not
        self._tensors = _weights(_load(path, "meta"), path) if _zipped(path) else {}
        if not all(hasattr(tensor.untyped_storage(), _PLACE) for tensor in self._tensors.values()) or not self._tensors:
            self._tensors = _weights(_load(path, "cpu"), path)
        info = {n: TensorInfo(_TYPES.get(t.dtype, str(t.dtype)), tuple(t.shape)) for n, t in self._tensors.items()}
        self.header = Header(info, {})

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU, in the file's type, of newer files in a mapping of its own that goes with it.

        Raises:
            CheckpointError: there is no such tensor, or the file has become shorter.
        """
        tensor = self._known(name)
        if not tensor.is_meta:
            return tensor
        try:
            return _mapped(tensor, self.paths[0])
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.paths[0]}: {name} can't be read: {error}") from error


def _zipped(path: Path) -> bool:
    with refusing(path), path.open("rb") as file:
        return file.read(2) == b"PK"


def _mapped(tensor: Tensor, path: Path) -> Tensor:
    """The numbers of a tensor that is on ``meta`` and knows its storage's place in the file."""
    if not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    start = getattr(tensor.untyped_storage(), _PLACE) + tensor.storage_offset() * tensor.itemsize
    last = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride(), strict=True))
    data = torch.from_numpy(np.memmap(path, np.uint8, "c", start, ((last + 1) * tensor.itemsize,)))
    # Not a view: that would hold the mapping also when its own data is replaced.
    return torch.empty(0, dtype=tensor.dtype).set_(data.untyped_storage(), 0, tensor.shape, tensor.stride())


def _load(path: Path, device: str) -> Any:
    """What is in the file; on ``meta`` its tensors have no numbers, but newer versions of torch note their places."""
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return torch.load(path, map_location=device, weights_only=True, mmap=device == "cpu")
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):
                    raise
                return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_refusal(str(error))}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CheckpointError(
            f"{path}: not a whole PyTorch checkpoint ({reason}); copy or download it again"
        ) from error


def _refusal(message: str) -> str:
    if match := _FORBIDDEN.search(message):
        return f"wants to run {match[1]} when it is opened, and weights never need that; it was not opened"
    return "not a PyTorch checkpoint of weights alone; it was not opened"


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Allow the harmless classes that Lightning's checkpoints name, as empty ones of ours."""

    class ModelCheckpoint:
        """What Lightning's callback was."""

    name = "pytorch_lightning.callbacks.model_checkpoint"
    ModelCheckpoint.__module__ = name
    missing = name not in sys.modules
    if missing:
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], "ModelCheckpoint", ModelCheckpoint)  # noqa: B010
    scalar = np.float64(0).__reduce__()[0]
    numbers = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32")]
    allowed: list[Any] = [ModelCheckpoint, np.dtype, *numbers, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        if missing:
            del sys.modules[name]


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, from wherever the trainer put them."""
    for _ in range(DEPTH):
        inner = next(
            (content[k] for k in INSIDE if isinstance(content, Mapping) and isinstance(content.get(k), Mapping)), None
        )
        if inner is None:
            break
        content = inner
    tensors = (
        {n: t.detach() for n, t in content.items() if isinstance(n, str) and isinstance(t, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise CheckpointError(f"{path}: there are no weights in it that have names")
    return tensors

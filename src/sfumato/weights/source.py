"""Tensors on disk: read by name, mapped from the file and not copied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.blocks import Stored
from sfumato.weights.header import Header, TensorInfo, check_length, format_of, header_of, refusing

#: Bytes that are handed out of one mapping of a file, but for larger tensors.
WINDOW = 64 * 2**20


class NamedTensors:
    """What sources have in common whose tensors are all known by name once the file is open."""

    paths: tuple[Path, ...]
    header: Header
    _tensors: dict[str, Any]

    def _known(self, name: str) -> Any:
        if name not in self._tensors:
            raise CheckpointError(f"{self.paths[0]}: {name}: there is no such tensor")
        return self._tensors[name]

    def stored(self, name: str) -> Stored:
        """The tensor as it lies in the file: packed, if it is."""
        return self.get(name)

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU."""
        raise NotImplementedError

    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self._tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)


class TensorSource:
    """One ``.safetensors`` file, or the shards of one, opened once.

    Raises:
        CheckpointError: at opening, if a file is missing, truncated, or not a safetensors file.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self._files = [_open(path) for path in paths]
        tensors: dict[str, TensorInfo] = {}
        metadata: dict[str, str] = {}
        self._home: dict[str, int] = {}
        self._handed = 0
        for index, file in enumerate(self._files):
            header = header_of(file, paths[index])
            tensors |= header.tensors
            metadata |= header.metadata
            self._home |= dict.fromkeys(header.tensors, index)
        self.header = Header(tensors, metadata)

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU, in the file's type, backed by the mapped file.

        A mapping's pages stay resident for as long as any tensor of it lives. So the file is mapped anew before more
        than ``WINDOW`` bytes of a mapping are handed out, and tensors that are converted and dropped give their pages
        back on the way; a larger one has a mapping of its own.

        Raises:
            CheckpointError: the source has no such tensor, or is closed.
        """
        index = self._home.get(name)
        if index is None or not self._files:
            reason = "there is no such tensor" if self._files else "the file is closed"
            raise CheckpointError(f"{', '.join(map(str, self.paths))}: {name}: {reason}")
        size = self.header.tensors[name].bytes
        if self._handed and self._handed + size > WINDOW:
            self._handed = 0
            self._files[index] = _open(self.paths[index])
        self._handed += size
        return self._files[index].get_tensor(name)

    def stored(self, name: str) -> Stored:
        """The same as :meth:`get`: files of this kind pack nothing."""
        return self.get(name)

    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self.header.tensors)

    def close(self) -> None:
        """Let go of the files. Tensors that were handed out stay valid; they hold their own mapping."""
        self._files = []

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)


def _open(path: Path) -> safe_open:
    with refusing(path):
        check_length(path)
        return safe_open(path, framework="pt", device="cpu")


def open_any(path: Path) -> Any:
    """The weights of a checkpoint of any kind, told by its content: safetensors, GGUF, PyTorch's, or a folder.

    Returns:
        A :class:`TensorSource` or what has its methods: ``header``, ``get(name)``, ``stored(name)``, ``names()``.

    Raises:
        CheckpointError: there is nothing to read, or it is damaged.
    """
    # Each imports a library of its own.
    if path.is_dir():
        from sfumato.weights.folder_source import FolderSource

        return FolderSource(path)
    kind = format_of(path)
    if kind == "gguf":
        from sfumato.weights.gguf_file import GgufSource

        return GgufSource(path)
    if kind == "pytorch":
        from sfumato.weights.pickled import PickledSource

        return PickledSource(path)
    return TensorSource(path)


def open_part(folder: Path) -> TensorSource:
    """The weights in one folder of a diffusers model: a single file or the shards that an index names."""
    names = ("diffusion_pytorch_model", "model")
    for name in names:
        for variant in ("", ".fp16", ".bf16"):
            path = folder / f"{name}{variant}.safetensors"
            if path.is_file():
                return TensorSource(path)
            index = folder / f"{name}.safetensors.index{variant}.json"
            if index.is_file():
                return TensorSource(*_shards(index))
    raise CheckpointError(f"{folder}: no {names[0]}.safetensors or {names[1]}.safetensors in it")


def _shards(index: Path) -> list[Path]:
    """The files that an index names, beside it whatever folder it gives them."""
    try:
        homes: object = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index}: can't be read: {error!r}; copy or download it again") from error
    if not isinstance(homes, dict) or not all(isinstance(home, str) for home in homes.values()):
        raise CheckpointError(f"{index}: can't be read: its weight_map does not name files; copy or download it again")
    return [index.parent / Path(home).name for home in sorted(set(homes.values()))]

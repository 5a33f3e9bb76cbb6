"""A diffusers folder in one file: its networks' tensors under their folders' names, its other files as metadata.

So a model whose widths, tokenizer or training no other layout has a word for can be one GGUF or safetensors file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.blocks import Stored
from sfumato.weights.folder_source import NotOneFileError
from sfumato.weights.header import FOLDER_FILE, Header, TensorInfo
from sfumato.weights.source import NamedTensors, TensorSource, open_any, open_part

_NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
INDEX = "model_index.json"
#: What goes along of a folder beside the weights, and the longest such file: vocabularies have a megabyte or two.
_TEXTS, _LONGEST = (".json", ".txt"), 4 * 2**20


class PackedFolder:
    """A folder or a file in such a file, with those few of a path's ways that loading a model needs."""

    def __init__(self, path: Path, source: Any, inside: str = "") -> None:
        self._path, self._source, self._inside = path, source, PurePosixPath(inside)

    def __truediv__(self, name: str) -> PackedFolder:
        return PackedFolder(self._path, self._source, str(self._inside / name))

    def __str__(self) -> str:
        return f"{self._path}: {self._inside}" if self.name else str(self._path)

    @property
    def name(self) -> str:
        """The last part of what it is called inside the file."""
        return self._inside.name

    @property
    def parent(self) -> PackedFolder:
        """The folder that it lies in."""
        return PackedFolder(self._path, self._source, str(self._inside.parent))

    def is_file(self) -> bool:
        """Whether the metadata has a file of this name."""
        return self._key in self._source.header.metadata

    def is_dir(self) -> bool:
        """Whether a file or a network is in it."""
        if not self.name:
            return True
        below = any(key.startswith(self._key + "/") for key in self._source.header.metadata)
        return below or any(name.startswith(self._prefix) for name in self._source)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The file's content. Raises FileNotFoundError as a path does."""
        return io.BytesIO(self.read_text().encode())

    def read_text(self, encoding: str = "utf-8") -> str:
        """The file's content. Raises FileNotFoundError as a path does."""
        if not self.is_file():
            raise FileNotFoundError(str(self))
        return self._source.header.metadata[self._key]

    def tensors(self) -> PartSource:
        """The network in this folder.

        Raises:
            CheckpointError: there is none.
        """
        names = [name for name in self._source if name.startswith(self._prefix)]
        if not names:
            raise CheckpointError(f"{self}: there are no weights of it")
        return PartSource(self._path, self._source, {name.removeprefix(self._prefix): name for name in names})

    @property
    def _key(self) -> str:
        return FOLDER_FILE + self._inside.as_posix()

    @property
    def _prefix(self) -> str:
        return ".".join(self._inside.parts) + "."


#: Where a diffusers model lies.
Folder: TypeAlias = Path | PackedFolder


class PartSource(NamedTensors):
    """One network's tensors of a file with several, under names of their own."""

    def __init__(self, path: Path, source: Any, names: dict[str, str]) -> None:
        self.paths, self._source, self._tensors = (path,), source, names
        infos = source.header.tensors
        self.header = Header({new: infos[old] for new, old in names.items()}, source.header.metadata)

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU."""
        return self._source.get(self._known(name))

    def stored(self, name: str) -> Stored:
        """The tensor as it lies in the file."""
        return self._source.stored(self._known(name))


class WholeFolder(NamedTensors):
    """A diffusers folder's networks under one file's names, with its other files as the header's metadata.

    Raises:
        CheckpointError: at opening, if it has no networks, or weights are missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        self._tensors: dict[str, tuple[TensorSource, str]] = {}
        infos: dict[str, TensorInfo] = {}
        for part in (path / name for name in _NETWORKS if (path / name).is_dir()):
            source = open_part(part)
            for name, info in source.header.tensors.items():
                self._tensors[f"{part.name}.{name}"] = source, name
                infos[f"{part.name}.{name}"] = info
        if not infos:
            raise CheckpointError(f"{path}: there are no networks in it")
        self.header = Header(infos, dict(_texts(path)))

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU."""
        source, own = self._known(name)
        return source.get(own)


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    for file in sorted((*path.glob("*"), *path.glob("*/*"))):
        is_index = ".safetensors" in file.name  # of shards, which the new file does not have
        if file.suffix in _TEXTS and not is_index and file.is_file() and file.stat().st_size <= _LONGEST:
            yield FOLDER_FILE + file.relative_to(path).as_posix(), file.read_text(encoding="utf-8")


def is_packed_folder(header: Header) -> bool:
    """Whether a file with this header is a diffusers folder."""
    return FOLDER_FILE + INDEX in header.metadata


def open_model(path: Path) -> Any:
    """What a model's path leads to: a :data:`Folder`, also one in a file; the weights of any other file, as
    :func:`sfumato.weights.source.open_any` gives them.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    if path.is_dir():
        return path
    source = open_any(path)
    return PackedFolder(path, source) if is_packed_folder(source.header) else source


def as_folder(path: Path) -> Folder | None:
    """The diffusers folder at a path or in the file there; None for a file that is none.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    found = open_model(path)
    return found if isinstance(found, Path | PackedFolder) else None


def open_tensors(folder: Folder) -> Any:
    """The weights in one folder of a diffusers model."""
    return folder.tensors() if isinstance(folder, PackedFolder) else open_part(folder)


def open_whole(path: Path) -> Any:
    """The weights of a checkpoint of any kind as those of one file: a folder's under LDM's names where these say it
    all, else under its own.

    Raises:
        CheckpointError: there is nothing to read, or it is damaged.
    """
    try:
        return open_any(path)
    except NotOneFileError:
        return WholeFolder(path)

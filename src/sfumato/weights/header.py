"""What a ``.safetensors`` file says of its tensors, read without the tensors and without torch."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from sfumato.errors import CheckpointError
from sfumato.weights.dtypes import bytes_of

#: Model files of other kinds, which users have and may try.
_OTHER_KINDS = {
    ".onnx": "an ONNX file, and",
}
#: How files begin: GGUF's name; a zip archive, or a pickle of protocol 2 and newer.
_GGUF = b"GGUF"
_PYTORCH = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
#: Bytes of a text file that its error message shows. A safetensors file begins with a length, which has zeros in it.
_SHOWN = 24
#: The longest header that is read. Those of the largest models have 1 MB, training notes in LoRAs a few.
MAX_HEADER = 16 * 2**20
#: In the metadata of a file that is a whole diffusers folder, before the names of the folder's other files.
FOLDER_FILE = "sfumato.folder."
#: More than any model has.
MAX_TENSORS = 50_000


class TensorInfo(NamedTuple):
    """What a header says of one tensor: the file's name for its type (``F16``, ``BF16``, ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes they take in the file."""
        return bytes_of(self.dtype, self.numbers)


@dataclass(frozen=True)
class Header:
    """All tensors of a checkpoint, and the file's metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)


def format_of(path: Path) -> str:
    """``"gguf"``, ``"pytorch"`` or ``"safetensors"``, by how the file begins; what is neither of the first two
    is the last.

    A safetensors file begins with its header's length, whose lowest bytes may be those of a pickle, and goes on with
    the header's brace.

    Raises:
        CheckpointError: the file is missing or can't be read.
    """
    with refusing(path), path.open("rb") as file:
        start = file.read(9)
    if start.startswith(_GGUF):
        return "gguf"
    return "pytorch" if start.startswith(_PYTORCH) and start[8:] != b"{" else "safetensors"


def read_header(path: Path) -> Header:
    """The names, types and shapes in a ``.safetensors`` file.

    Raises:
        CheckpointError: the file is missing, truncated, or not a safetensors file.
    """
    with refusing(path):
        check_length(path)
        with safe_open(path, framework="numpy") as checked, path.open("rb") as file:
            _check_count(path, checked)
            said = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = said.pop("__metadata__", None) or {}
    return Header({name: TensorInfo(one["dtype"], tuple(one["shape"])) for name, one in said.items()}, metadata)


def _check_count(path: Path, file: safe_open) -> None:
    if (count := len(file.keys())) > MAX_TENSORS:
        raise CheckpointError(f"{path}: it has {count} tensors, more than any model; it was not opened")


def header_of(file: safe_open, path: Path) -> Header:
    """The header of a file that is open.

    Raises:
        CheckpointError: it has more tensors than any model.
    """
    _check_count(path, file)
    slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - not a mapping
    tensors = {name: TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in slices}
    return Header(tensors, file.metadata() or {})


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns what opening a file raises into one line that says what to do.

    Raises:
        CheckpointError: the file is missing, can't be read, or is not a whole safetensors file.
    """
    check_regular(path)
    try:
        yield
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_why(path, error)}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error


def check_regular(path: Path) -> None:
    """Refuse what is no file with bytes to read: nothing, a folder, a pipe, a device.

    Raises:
        CheckpointError: it is one of these, or may not be looked at.
    """
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise CheckpointError(
            f"{path}: there is no such file" if missing else f"{path}: can't be read: {error}"
        ) from error
    if stat.S_ISDIR(kind):
        raise CheckpointError(f"{path}: is a folder and not a file; give the file in it")
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"{path}: is a pipe or a device and not a model's file")


def check_length(path: Path) -> None:
    """Refuse a ``.safetensors`` file whose header would take much memory to read.

    Raises:
        CheckpointError: the header is longer than any model's.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if MAX_HEADER < length < path.stat().st_size:
        raise CheckpointError(f"{path}: its header has {length} bytes, more than any model's; it was not opened")


def _why(path: Path, error: SafetensorError) -> str:
    if kind := _OTHER_KINDS.get(path.suffix.lower()):
        return f"is {kind} is not read here; give this model's .safetensors file"
    with path.open("rb") as file:
        start = file.read(_SHOWN)
    if start and start.isascii() and not any(byte < ord(" ") and byte not in b"\t\r\n" for byte in start):
        return f"text and not a safetensors file (it begins {start.decode('ascii')!r}); download it again"
    return f"not a whole safetensors file ({path.stat().st_size} bytes; {error}); copy or download it again"

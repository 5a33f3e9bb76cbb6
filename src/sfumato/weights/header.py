"""What a ``.safetensors`` file says of its tensors, read without the tensors and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sfumato.errors import CheckpointError

#: Model files of other kinds, which users have and may try.
_OTHER_KINDS = {
    ".onnx": "an ONNX file, and",
}
#: Bytes of a text file that its error message shows. A safetensors file begins with a length, which has zeros in it.
_SHOWN = 24


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor: the file's name for its type (``F16``, ``BF16``, ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """All tensors of a checkpoint, and the file's metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """The names, types and shapes in a ``.safetensors`` file.

    Raises:
        CheckpointError: the file is missing, truncated, or not a safetensors file.
    """
    with refusing(path), safe_open(path, framework="numpy") as file:
        return header_of(file)


def header_of(file: safe_open) -> Header:
    """The header of a file that is open."""
    slices = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - not a mapping
    tensors = {name: TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in slices}
    return Header(tensors, file.metadata() or {})


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turns what opening a file raises into one line that says what to do.

    Raises:
        CheckpointError: the file is missing, can't be read, or is not a whole safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        yield
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {_why(path, error)}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error


def _why(path: Path, error: SafetensorError) -> str:
    if kind := _OTHER_KINDS.get(path.suffix.lower()):
        return f"is {kind} is not read here; give this model's .safetensors file"
    with path.open("rb") as file:
        start = file.read(_SHOWN)
    if start and start.isascii() and not any(byte < ord(" ") and byte not in b"\t\r\n" for byte in start):
        return f"text and not a safetensors file (it begins {start.decode('ascii')!r}); download it again"
    return f"not a whole safetensors file ({path.stat().st_size} bytes; {error}); copy or download it again"

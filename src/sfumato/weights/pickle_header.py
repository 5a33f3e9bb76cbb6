"""What a PyTorch checkpoint says of its tensors, read without the tensors, without torch, and with nothing run."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sfumato.errors import CheckpointError
from sfumato.weights.header import MAX_HEADER, Header, TensorInfo, refusing
from sfumato.weights.pickle_machine import Machine, RefusedError

#: Bytes of a zip archive's directory.
MAX_DIRECTORY = 4 * 2**20
#: Where the weights lie in what trainers save, one inside the other.
INSIDE = ("state_dict", "model_state_dict", "module", "params_ema", "params")
DEPTH = 4
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_pickle_header(path: Path) -> Header:
    """The names, types and shapes of the weights in a ``.ckpt``, ``.pt``, ``.pth`` or ``.bin`` file.

    Raises:
        CheckpointError: it is damaged, wants to run code, claims what it can't hold, or has no weights.
    """
    with refusing(path), path.open("rb") as file:
        try:
            content = _read_zip(file) if file.read(4) == b"PK\x03\x04" else _read_legacy(file)
        except RefusedError as error:
            raise CheckpointError(
                f"{path}: wants to run {error} when it is opened, and weights never need that; it was not opened"
            ) from error
        except CheckpointError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise CheckpointError(
                f"{path}: not a whole PyTorch checkpoint ({reason}); copy or download it again"
            ) from error
    tensors = {n: t for n, t in _weights(content).items() if isinstance(n, str) and isinstance(t, TensorInfo)}
    if not tensors:
        raise CheckpointError(f"{path}: there are no weights in it that have names")
    return Header(tensors, {})


def _weights(content: Any) -> Mapping[Any, Any]:
    """The innermost mapping of those that trainers put one into the other."""
    for _ in range(DEPTH):
        inner = next(
            (content[k] for k in INSIDE if isinstance(content, dict) and isinstance(content.get(k), dict)), None
        )
        if inner is None:
            break
        content = inner
    return content if isinstance(content, dict) else {}


def _read_zip(file: BinaryIO) -> Any:
    """The archive that torch writes since 1.6: ``<name>/data.pkl`` and ``<name>/data/<key>``, none of them packed."""
    size = file.seek(0, io.SEEK_END)
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        folder = members[0].filename.partition("/")[0] + "/" if members else ""
        by_name = {member.filename: member for member in members}
        if len(by_name) < len(members):
            raise ValueError("two files in it have one name")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError(f"{member.filename!r} in it is compressed, which torch never does")
        if sum(member.file_size for member in members) > size:
            raise ValueError("its parts claim more bytes than it has")
        program = by_name.get(folder + "data.pkl")
        if program is None:
            raise ValueError("there is no data.pkl in its folder")
        if program.file_size > MAX_HEADER:
            raise ValueError(f"its data.pkl has {program.file_size} bytes, more than any model's")
        room = {
            n.removeprefix(folder + "data/"): m.file_size for n, m in by_name.items() if n.startswith(folder + "data/")
        }
        return Machine(io.BytesIO(archive.read(program)), room.__getitem__).load()


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse an archive whose list of files is longer than any checkpoint's, before it is read."""
    file.seek(max(0, size - 65557))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < 22:
        raise ValueError("the end is missing")
    (length,) = struct.unpack_from("<I", tail, place + 12)
    wide = tail.rfind(b"PK\x06\x06", 0, place)
    if length == 0xFFFFFFFF and wide >= 0 and len(tail) - wide >= 48:
        (length,) = struct.unpack_from("<Q", tail, wide + 40)
    if length > MAX_DIRECTORY:
        raise ValueError(f"its list of files has {length} bytes")


def _read_legacy(file: BinaryIO) -> Any:
    """The stream that torch wrote before 1.6: magic number, version, machine, content, keys, then the storages."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    stream = io.BytesIO(file.read(MAX_HEADER))

    if Machine(stream, {}.__getitem__).load() != _LEGACY_MAGIC:
        raise ValueError("it is no checkpoint")
    for _ in ("version", "machine"):
        Machine(stream, {}.__getitem__).load()
    claimed: dict[str, int] = {}
    machine = Machine(stream, lambda key: size, claimed)
    content = machine.load()
    Machine(stream, {}.__getitem__).load()  # the storages' keys, in their order
    if sum(length + 8 for length in claimed.values()) > size - stream.tell():
        raise ValueError("its tensors claim more bytes than it has")
    return content

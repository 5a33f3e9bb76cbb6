"""A model's hash: the first ten digits of SHA-256, as picture metadata names it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

DIGITS = 10


def model_hash(path: Path) -> str:
    """Ten hex digits of the file's SHA-256; of a folder, over its weights' paths and hashes.

    Remembered by path, size and time of change.
    """
    if path.is_file():
        return _remembered(path)[:DIGITS]
    return _folder_hash(path, [(part, _remembered(part)) for part in _files(path)])


def known_hash(path: Path) -> str | None:
    """A model's :func:`model_hash` if it was made before; None costs no reading."""
    known = _read_cache()
    parts = _files(path)
    found = [(part, known.get(":".join(map(str, stamp(part))))) for part in parts]
    digests = [(part, digest) for part, digest in found if digest is not None]
    if not found or len(digests) < len(found):
        return None
    return digests[0][1][:DIGITS] if path.is_file() else _folder_hash(path, digests)


def model_stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """The :func:`stamp` of every file that the model's weights are in: another when one of them is."""
    return tuple(stamp(part) for part in _files(path))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.safetensors"))


def _folder_hash(folder: Path, digests: Sequence[tuple[Path, str]]) -> str:
    whole = hashlib.sha256()
    for part, digest in digests:
        whole.update(f"{part.relative_to(folder).as_posix()}:{digest}\n".encode())
    return whole.hexdigest()[:DIGITS]


def network_hash(path: Path) -> str:
    """Twelve hex digits over a safetensors file's tensors without its header: how web UIs name a LoRA.

    Remembered as :func:`model_hash` is.
    """
    return _remembered(path, tensors_only=True)[:12]


def stamp(path: Path) -> tuple[str, int, int]:
    """Path, size and time of change: another when the file is."""
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns


def cache_file() -> Path:
    """Where hashes are remembered, in the user's cache folder."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "sfumato" / "hashes.json"


def _remembered(path: Path, tensors_only: bool = False) -> str:
    """The file's SHA-256; a cache that can't be read or written costs time and nothing else."""
    key = ":".join(map(str, stamp(path))) + (":tensors" if tensors_only else "")
    known = _read_cache()
    if key in known:
        return known[key]
    with path.open("rb") as file:
        if tensors_only:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
        digest = _file_digest(file)
    known[key] = digest
    with contextlib.suppress(OSError):
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        temporary = cache_file().with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(cache_file())
    return digest


def _read_cache() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(cache_file().read_text(encoding="utf-8"))
        if isinstance(known, dict) and all(isinstance(digest, str) for digest in known.values()):
            return known
    return {}


def _file_digest(file: BinaryIO) -> str:
    whole = hashlib.sha256()
    while chunk := file.read(1 << 22):
        whole.update(chunk)
    return whole.hexdigest()

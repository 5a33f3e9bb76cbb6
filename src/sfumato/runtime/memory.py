"""The process's own memory, as the operating system counts it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfumato.errors import OutOfMemoryError

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_rss() -> int:
    """The most memory that was resident since the start or the last :func:`reset_peak`, in bytes."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


#: How the allocators of torch's processor backend and of oneDNN begin to say that there is none left.
_EXHAUSTED = ("not enough memory", "can't allocate memory", "out of memory", "failed to allocate", "bad_alloc")


@contextmanager
def worded_exhaustion(what: str) -> Iterator[None]:
    """Turn an allocator's failure into words; ``what`` names the task, as in "a 4096x4096 picture".

    Raises:
        OutOfMemoryError: whichever way Python or torch said that memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(word in str(error).lower() for word in _EXHAUSTED):
            raise
        raise OutOfMemoryError(
            f"not enough memory for {what}; take a smaller size, a smaller batch, or --precision autocast,"
            " and close other programs"
        ) from error


def reset_peak() -> bool:
    """Start counting anew, where the system can (Linux); says whether it could."""
    if not _CLEAR_REFS.exists():
        return False
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


#: glibc's numbers for :func:`mallopt`, and what they are set to: while a model is read, and after.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_READING, _DRAWING = 2**20, 2**25


def _c_library() -> ctypes.CDLL | None:
    """glibc, where that is what allocates."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def trim() -> None:
    """Give the system what the allocator keeps of freed memory, where it can be told to."""
    if (library := _c_library()) is not None:
        library.malloc_trim(0)


def keep_freed(keep: bool) -> None:
    """Whether the allocator may keep what large tensors leave behind, to be quicker with the next ones."""
    if (library := _c_library()) is not None:
        library.mallopt(_MMAP_THRESHOLD, _DRAWING if keep else _READING)


@contextmanager
def whole_pages() -> Iterator[None]:
    """While a model is read, let every large tensor have pages of its own, which go when it goes.

    Weights are converted one by one, and what is freed between those that stay is otherwise kept: an eighth of a model.
    """
    library = _c_library()
    if library is None:
        yield
        return
    keep_freed(False)
    try:
        yield
    finally:
        keep_freed(True)
        library.mallopt(_TRIM_THRESHOLD, 2 * _DRAWING)
        library.malloc_trim(0)


def room(free: int) -> int:
    """Bytes that this process could have at its peak: what it has, and what is free beside it."""
    import psutil

    return free + psutil.Process().memory_info().rss

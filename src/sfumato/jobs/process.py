"""A worker process as its supervisor sees it: started, spoken to, and its end explained."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from sfumato.jobs import worker
from sfumato.jobs.messages import LAST, Order, Prepare, Ready, Report, Token, Tools, WorkerLostError
from sfumato.jobs.types import Cause

#: Signals that someone or something outside sends; after all others the job is to blame.
_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGKILL", None), getattr(signal, "SIGHUP", None)}
_VMSTAT, _CGROUP = Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")


class ProcessWorker:
    """Draws in a child process of its own. See :class:`sfumato.jobs.messages.Worker`."""

    def __init__(self, tools: Tools, device: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        # Two pipes of one way each: one of both ways would be a socket.
        inbox, self._out = context.Pipe(duplex=False)
        self._in, outbox = context.Pipe(duplex=False)
        self._theirs = (inbox, outbox)
        self._lock = threading.Lock()
        self._kills = oom_kills()
        arguments = (inbox, outbox, tools, device)
        self.process = context.Process(target=worker.main, args=arguments, name="sfumato-worker", daemon=True)

    def start(self) -> Ready:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self.process.start()
        for end in self._theirs:
            end.close()  # ours of it; the pipe ends when the child does
        message = self._receive()
        if not isinstance(message, Ready):
            raise TypeError(f"a worker began with {type(message).__name__}")
        return message

    def draw(self, order: Order) -> Iterator[Report]:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._kills = oom_kills()
        self._send(order)
        while True:
            message = self._receive()
            if isinstance(message, Ready):
                raise TypeError("a worker said twice that it is ready")
            yield message
            if isinstance(message, LAST):
                return

    def stop(self, token: Token) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._send(token)

    def prepare(self, wish: Prepare) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._send(wish)

    def close(self, patience: float) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        with self._lock, contextlib.suppress(OSError):
            self._out.close()
        if self.process.pid is None:
            return
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, message: Order | Prepare | Token) -> None:
        # A worker that is gone is noticed where its reports are read.
        with self._lock, contextlib.suppress(OSError):
            self._out.send(message)

    def _receive(self) -> Ready | Report:
        try:
            return self._in.recv()
        except (EOFError, OSError):
            self.process.join(10)
            raise self._lost() from None

    def _lost(self) -> WorkerLostError:
        code = self.process.exitcode
        if code == -getattr(signal, "SIGKILL", 9) and oom_kills() > self._kills:
            message = "The system ran out of memory and killed the worker; make the picture smaller or free memory."
            return WorkerLostError(Cause(kind="OutOfMemoryKill", message=message), blamed=True)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            if -code in _FROM_OUTSIDE:
                cause = Cause(kind="WorkerLost", message=f"The worker was killed from outside ({name}).")
                return WorkerLostError(cause, blamed=False)
            return WorkerLostError(Cause(kind="WorkerCrash", message=f"The worker crashed ({name})."), blamed=True)
        return WorkerLostError(Cause(kind="WorkerCrash", message=f"The worker ended with code {code}."), blamed=True)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, in this container or on this machine."""
    for path in (_CGROUP, _VMSTAT):
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


def visible_device(index: int) -> str:
    """What CUDA_VISIBLE_DEVICES must be for a process that is to see only the device that is here number ``index``."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return str(index)
    names = seen.split(",")
    return names[index].strip() if index < len(names) else seen

"""The worker process: takes orders from one pipe, reports to another, and has no other way out."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from sfumato.jobs.messages import Order, Prepare, Ready, Report, Token, Tools

#: Added to the kernel's score of what to kill when memory runs out: the worker before the server.
OOM_SCORE = "500"
#: Added to the worker's niceness: its threads want every core, and who types or asks meanwhile should not wait.
NICENESS = 5


def refuse_sockets() -> None:
    """From now on this process can neither make a socket nor look up a name."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith("socket.") and event != "socket.gethostname":
            raise PermissionError(f"A worker has no network: {event} {arguments}")

    sys.addaudithook(hook)


def give_way() -> None:
    """From now on let the server and the browser go first when they want a core; alone, this is as fast as before."""
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)


def main(inbox: Connection, outbox: Connection, tools: Tools, device: str | None) -> None:
    """Runs until the other end of ``inbox`` closes. ``device`` is the one GPU to see, by its number."""
    refuse_sockets()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which stops its workers in order
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    give_way()  # before there is any other thread: on Linux each has its own niceness, and gets its maker's
    inward = _Inward(inbox)
    devices = count_devices()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # read when CUDA is first used, and counting does not use it
    from sfumato.jobs.artist import Artist

    artist = Artist(tools)
    send = _Outward(outbox)
    send(Ready(devices=devices, pid=os.getpid()))
    while True:
        order = inward.orders.get()
        if isinstance(order, Prepare):
            artist.prepare(order)
            continue
        artist.draw(order, send, lambda token=order.token: token in inward.stops)


def count_devices() -> int:
    """How many GPUs this process sees; at least 1, which then is the CPU."""
    import torch

    return max(1, torch.cuda.device_count())


class _Inward:
    """Reads the pipe beside the drawing, so that a word to stop is heard in the middle of it."""

    def __init__(self, inbox: Connection) -> None:
        self.orders: queue.SimpleQueue[Order | Prepare] = queue.SimpleQueue()
        self.stops: set[Token] = set()
        self._inbox = inbox
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                message = self._inbox.recv()
            except (EOFError, OSError):
                os._exit(0)  # the server is gone; what it had stored is all that counts
            if isinstance(message, Order):
                self.stops &= {message.token}  # those for earlier orders came too late
                self.orders.put(message)
            elif isinstance(message, Prepare):
                self.orders.put(message)
            else:
                self.stops.add(message)


class _Outward:
    def __init__(self, outbox: Connection) -> None:
        self._outbox = outbox

    def __call__(self, message: Ready | Report) -> None:
        try:
            self._outbox.send(message)
        except (BrokenPipeError, OSError):
            os._exit(0)

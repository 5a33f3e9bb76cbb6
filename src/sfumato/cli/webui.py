"""``webui``: the queue, its workers and the server, started in order and stopped in reverse."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sfumato.errors import RequestError

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
#: Flag field to the setting that it goes before.
SETTINGS: Mapping[str, str] = {
    "model": "model.type",
    "ckpt": "model.type",
    "precision": "model.precision",
    "device": "device",
    "outdir": "output.dir",
    "threads": "threads",
}


@dataclass(frozen=True, kw_only=True)
class WebuiFlags:
    """The flags as they were given; ``None`` where they were not."""

    port: int
    listen: bool
    api_auth: str | None
    host_name: list[str]
    model: str | None
    ckpt: Path | None
    precision: str | None
    device: str | None
    outdir: Path | None
    threads: int | None
    ray: str | None
    config: Path | None

    def settings(self) -> dict[str, str]:
        """Dotted keys and values of the settings that flags go before."""
        return {key: str(value) for name, key in SETTINGS.items() if (value := getattr(self, name)) is not None}


def run(flags: WebuiFlags) -> None:
    """Serves until Ctrl-C or SIGTERM; both end it in order, with exit code 0.

    Raises:
        SfumatoError: a setting is wrong, the port is taken, or listening to others without a password.
    """
    from sfumato import config

    check(flags)
    address = EVERYWHERE if flags.listen else LOOPBACK
    with _bound(address, flags.port) as listener:
        loaded = config.load(flags.config, os.environ, flags.settings())
        from sfumato.app import open_desk, running_jobs
        from sfumato.server import application
        from sfumato.server.access import Access

        with running_jobs(loaded.settings, flags.ray) as jobs:
            url = f"http://{address if flags.listen else 'localhost'}:{listener.getsockname()[1]}"
            desk = open_desk(loaded, jobs.queue, url)
            access = Access(names=tuple(flags.host_name), credentials=flags.api_auth)
            app = application.create(desk, access, Path(loaded.settings.jobs.dir))
            typer.echo(f"Sfumato is at {url}" + (", for all who have the password" if flags.listen else ""))
            _serve(app, listener)


def check(flags: WebuiFlags) -> None:
    """Raises RequestError for flags that do not go together."""
    if not 0 <= flags.port <= 65535:
        raise RequestError(f"--port {flags.port}: give a number from 0 to 65535; 0 takes any free port.")
    if flags.listen and not flags.api_auth:
        raise RequestError("--listen lets other computers in: also give --api_auth NAME:PASSWORD.")
    if flags.api_auth is not None and len(flags.api_auth) < 8:
        raise RequestError("--api_auth is too short to keep anyone out: give at least 8 characters.")


@contextmanager
def _bound(address: str, port: int) -> Iterator[socket.socket]:
    """The listening socket, bound before anything slow is begun."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind((address, port))
            listener.listen(128)  # who comes too early waits
        except OSError as error:
            reason = error.strerror or error
            raise RequestError(f"--port {port} can't be used on {address}: {reason}; try another one.") from error
        yield listener


def _serve(app: Any, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False))

    @contextmanager
    def signals() -> Iterator[None]:
        # uvicorn's own would end the process by the signal, before the workers have said where they are.
        before = {s: signal.signal(s, server.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    server.capture_signals = signals
    server.run(sockets=[listener])

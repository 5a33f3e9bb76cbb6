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
#: Connections at once; more are told to come again.
MAX_CONNECTIONS = 500
_TLS = ("tls_keyfile", "tls_certfile")
#: Flag field to the setting that it goes before.
SETTINGS: Mapping[str, str] = {
    "model": "model.type",
    "ckpt": "model.type",
    "vae": "model.vae",
    "text_encoder": "model.text_encoder",
    "allow_partial": "model.allow_partial",
    "precision": "model.precision",
    "device": "device",
    "memory": "memory",
    "outdir": "output.dir",
    "metadata": "output.metadata",
    "threads": "threads",
}


@dataclass(frozen=True, kw_only=True)
class WebuiFlags:
    """The flags as they were given; ``None`` where they were not."""

    port: int
    listen: bool
    api_auth: str | None
    host_name: list[str]
    cors_allow_origins: str | None
    tls_keyfile: Path | None
    tls_certfile: Path | None
    model: str | None
    ckpt: Path | None
    vae: str | None
    text_encoder: str | None
    allow_partial: bool
    precision: str | None
    device: str | None
    memory: str | None
    outdir: Path | None
    metadata: str | None
    threads: int | None
    train_dir: list[Path]
    ray: str | None
    config: Path | None

    def settings(self) -> dict[str, str]:
        """Dotted keys and values of the settings that flags go before."""
        return {
            key: str(value) for name, key in SETTINGS.items() if (value := getattr(self, name)) not in (None, False)
        }

    def train_dirs(self) -> list[Path] | None:
        """Folders that training may read: those given; else any (None) for this computer alone, none for others."""
        return self.train_dir if self.train_dir or self.listen else None


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
        from sfumato.app import open_desk, open_services, running_jobs
        from sfumato.server import application
        from sfumato.server.access import Access, read_credentials
        from sfumato.server.limits import Limits

        access = Access(
            names=tuple(flags.host_name),
            credentials=() if flags.api_auth is None else read_credentials(flags.api_auth),
            origins=tuple(filter(None, (flags.cors_allow_origins or "").split(","))),
        )
        with (
            running_jobs(loaded.settings, flags.ray) as jobs,
            open_services(loaded, jobs, Limits(), flags.train_dirs()) as services,
        ):
            url = _url(flags, address, listener.getsockname()[1])
            desk = open_desk(loaded.settings, services, url)
            app = application.create(services, access, desk, Path(loaded.settings.jobs.dir))
            typer.echo(f"Sfumato is at {url}" + (", for all who have the password or token" if flags.listen else ""))
            _serve(app, listener, flags)


def _url(flags: WebuiFlags, address: str, port: int) -> str:
    scheme = "http" if flags.tls_certfile is None else "https"
    return f"{scheme}://{address if flags.listen else 'localhost'}:{port}"


def check(flags: WebuiFlags) -> None:
    """Raises RequestError for flags that do not go together."""
    if not 0 <= flags.port <= 65535:
        raise RequestError(f"--port {flags.port}: give a number from 0 to 65535; 0 takes any free port.")
    if flags.listen and not flags.api_auth:
        raise RequestError("--listen lets other computers in: also give --api_auth NAME:PASSWORD.")
    if (flags.tls_keyfile is None) != (flags.tls_certfile is None):
        raise RequestError("--tls_keyfile and --tls_certfile go together; give both.")
    for name in _TLS:
        path = getattr(flags, name)
        if path is not None and not path.is_file():
            raise RequestError(f"--{name} {path}: there is no such file.")
    for folder in flags.train_dir:
        if not folder.is_dir():
            raise RequestError(f"--train_dir {folder}: there is no such folder.")
    for origin in filter(None, (flags.cors_allow_origins or "").split(",")):
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise RequestError(f"--cors_allow_origins {origin}: give addresses such as https://example.org.")


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


def _serve(app: Any, listener: socket.socket, flags: WebuiFlags) -> None:
    import uvicorn

    from sfumato.server.connections import Punctual

    tls = {name: None if (path := getattr(flags, name)) is None else str(path) for name in _TLS}
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=Punctual,
            log_level="warning",
            timeout_graceful_shutdown=2,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            ssl_keyfile=tls["tls_keyfile"],
            ssl_certfile=tls["tls_certfile"],
        )
    )

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

"""A server on a socket, and clients that take their time."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import uvicorn

from sfumato.jobs.states import State
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.connections import Punctual
from sfumato.server.services import Services

ALLOWED = 0.5
HEAD = b"GET /api/v1/samplers HTTP/1.1\r\nHost: localhost\r\n"


class Hasty(Punctual):
    """So that no test waits for ten seconds."""

    seconds = ALLOWED


@pytest.fixture
def port(services: Services) -> Iterator[int]:
    app = create(replace(services, limits=replace(services.limits, body_seconds=ALLOWED, body_rate=1e6)), Access())
    server = uvicorn.Server(uvicorn.Config(app, http=Hasty, log_level="warning", timeout_graceful_shutdown=1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def _talk(port: int, *pieces: bytes, trickle: bytes = b"") -> bytes:
    """All that the server says until it closes, to pieces at once and then bytes that come one by one."""
    said = b""
    with socket.create_connection(("127.0.0.1", port)) as line:
        for piece in pieces:
            line.sendall(piece)
        line.settimeout(0.05)
        for k in range(600):
            try:
                if trickle:
                    line.sendall(trickle[k % len(trickle) :][:1])
                if not (got := line.recv(65536)):
                    return said
                said += got
            except TimeoutError:
                continue
            except OSError:
                return said
    raise AssertionError("the server has all the time in the world")


@pytest.mark.parametrize(
    ("pieces", "trickle"),
    [
        ((), b""),
        ((), HEAD * 100),
        ((HEAD,), b"X-Slow: 1\r\n"),
        ((HEAD + b"\r\n", HEAD), b"a: b\r\n"),
        ((b"\x16\x03",), b""),
    ],
)
def test_a_head_that_does_not_come_ends_the_connection(
    port: int, pieces: tuple[bytes, ...], trickle: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    said = _talk(port, *pieces, trickle=trickle)

    assert said.count(b"200 OK") == sum(piece.endswith(b"\r\n\r\n") for piece in pieces)
    if pieces != (b"\x16\x03",):
        assert "127.0.0.1 sent no whole request" in caplog.text


def test_a_body_that_does_not_come_is_told(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    head = HEAD.replace(b"GET /api/v1/samplers", b"POST /api/v1/jobs")
    head += b"Content-Type: application/json\r\nContent-Length: 900\r\n\r\n"

    assert b" 408 " in _talk(port, head, trickle=b" ")
    assert "refused with 408: POST /api/v1/jobs from 127.0.0.1: The body did not come in time." in caplog.text


def test_what_trickles_in_behind_an_answer_ends_the_connection(port: int) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"

    assert b" 404 " in _talk(port, head, trickle=b"x")


def test_who_is_quick_stays(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.get("/api/v1/samplers").status_code == 200
            time.sleep(0.1)
        with client.stream("GET", "/api/v1/events", timeout=10) as answer:
            lines = answer.iter_lines()
            began = time.monotonic()
            while time.monotonic() - began < 3 * ALLOWED:
                assert next(lines) in ("", ": still here")


def test_a_foreign_page_gets_no_socket_of_the_studio(port: int) -> None:
    headers = {"Origin": "http://evil.example"}
    polling = f"http://127.0.0.1:{port}/_nicegui_ws/socket.io/?EIO=4&transport=polling"

    assert httpx.get(polling, headers=headers).status_code == 403
    upgrade = {**headers, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    assert httpx.get(polling.replace("polling", "websocket"), headers=upgrade).status_code == 403


def test_a_stream_that_nobody_reads_any_more_ends_its_job(port: int, services: Services) -> None:
    given = {"prompt": "wait", "stream": True, "partial_images": 3, "size": "64x64"}
    with httpx.stream("POST", f"http://127.0.0.1:{port}/v1/images/generations", json=given, timeout=60) as answer:
        texts = answer.iter_text()  # held: without it httpx hangs up
        assert "partial_image" in next(texts)
        assert services.queue.counts()[State.RUNNING] == 1

    end = time.monotonic() + 60
    while sum(services.queue.counts().values()):  # cancelled, and forgotten
        assert time.monotonic() < end, services.queue.counts()
        time.sleep(0.05)

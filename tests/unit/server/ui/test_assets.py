"""The pages' own files come from memory after the first time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from sfumato.server.ui import assets
from sfumato.server.ui.assets import PREFIX, KeptAssets

WORDS = "a script, and so on; " * 100
read: list[str] = []


def _answer(request: Request) -> Response:
    read.append(request.url.path)
    if request.url.path.endswith("gone.js"):
        return PlainTextResponse("no such file", 404)

    async def parts() -> AsyncIterator[str]:
        for _ in range(2):
            yield WORDS

    return StreamingResponse(parts(), media_type="text/javascript")


def _with_cookie(request: Request) -> Response:
    answer = _answer(request)
    answer.set_cookie("id", "1")
    return answer


@pytest.fixture
def client() -> TestClient:
    read.clear()
    return TestClient(KeptAssets(Starlette(routes=[Route("/{path:path}", _answer)])))


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_file_is_read_once_and_sent_as_the_first_time(client: TestClient, encoding: str) -> None:
    answers = [client.get(f"{PREFIX}a.js", headers={"accept-encoding": encoding}) for _ in range(3)]

    assert [each.text for each in answers] == [WORDS * 2] * 3
    assert [each.headers.get("content-encoding") for each in answers] == [
        None if encoding == "identity" else "gzip"
    ] * 3
    assert len(read) == 1


@pytest.mark.parametrize("path", ["/", f"{PREFIX}gone.js", f"{PREFIX}a.js?now=1", "/_nicegui/0.0.1/a.js"])
def test_what_may_change_or_is_not_there_is_asked_for_each_time(client: TestClient, path: str) -> None:
    for _ in range(2):
        client.get(path)

    assert len(read) == 2


def test_a_part_of_a_file_is_none(client: TestClient) -> None:
    client.get(f"{PREFIX}a.js")
    client.get(f"{PREFIX}a.js", headers={"range": "bytes=0-9"})

    assert len(read) == 2


def test_nobody_gets_what_was_meant_for_another() -> None:
    """Middleware further out adds to an answer in place."""
    read.clear()
    kept = KeptAssets(Starlette(routes=[Route("/{path:path}", _answer)]))

    async def number(scope: Scope, receive: Receive, send: Send) -> None:
        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"set-cookie", b"id=%d" % len(seen)))
            await send(message)

        await kept(scope, receive, mark)

    seen: list[str] = []
    for _ in range(3):
        answer = TestClient(number).get(f"{PREFIX}a.js")
        seen.append(answer.headers["set-cookie"])
    assert seen == ["id=0", "id=1", "id=2"]
    assert len(read) == 1


def test_an_answer_with_a_cookie_is_for_one_alone() -> None:
    read.clear()
    client = TestClient(KeptAssets(Starlette(routes=[Route("/{path:path}", _with_cookie)])))
    for _ in range(2):
        client.get(f"{PREFIX}a.js")

    assert len(read) == 2


def test_memory_has_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "MOST", len(WORDS))
    for _ in range(2):
        client.get(f"{PREFIX}a.js", headers={"accept-encoding": "identity"})

    assert len(read) == 2

"""Who is let in: by name, by origin, by password."""

from __future__ import annotations

import base64

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from sfumato.errors import RequestError
from sfumato.server.access import COOKIE, Access, Guard, read_credentials

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("password, 1")


def _client(auth: str | None = None, **access: object) -> TestClient:
    app = FastAPI()

    @app.get("/")
    @app.post("/")
    def page() -> str:
        return "in"

    @app.websocket("/socket")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("in")

    credentials = () if auth is None else read_credentials(auth)
    app.add_middleware(Guard, access=Access(credentials=credentials, **access))
    return TestClient(app, base_url="http://localhost:7860")


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:7860", "192.168.1.5", "[::1]:7860", "den"])
def test_answers_to_addresses_and_to_its_own_names(host: str) -> None:
    assert _client(names=["den"]).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:7860", "[x"])
def test_does_not_answer_to_other_names(host: str) -> None:
    answer = _client().get("/", headers={"host": host})

    assert answer.status_code == 403
    assert "does not answer to that name" in answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:7860", 200), ("http://evil.example", 403), ("null", 403), ("http://[", 403),
     ("https://friend.example", 200)],
)  # fmt: skip
def test_only_listed_pages_change_anything(origin: str, status: int) -> None:
    client = _client(origins=["https://friend.example"])

    assert client.post("/", headers={"origin": origin}).status_code == status


def test_a_program_without_a_page_may_post() -> None:
    assert _client().post("/").status_code == 200


def test_a_socket_needs_the_password_too() -> None:
    with pytest.raises(WebSocketDisconnect), _client("ann:secret word").websocket_connect("/socket"):
        pass


def test_other_pages_get_no_socket() -> None:
    client = _client()
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/socket", headers={"origin": "http://x.example"}),
    ):
        pass


def _basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [{}, _basic("ann:wrong"), _basic("bob:secret word"), _basic(":secret word"), {"authorization": "Basic !"},
     {"authorization": "Basic /w=="}, {"authorization": "Bearer "}, {"authorization": "Bearer secret word"},
     {"cookie": f"{COOKIE}=x"}, {"cookie": ";;=;"}],
)  # fmt: skip
def test_without_the_password_nobody_comes_in(headers: dict[str, str]) -> None:
    answer = _client("ann:secret word,tokentoken").get("/", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [_basic("ann:secret word"), {"authorization": "Bearer ann:secret word"}, {"authorization": "Bearer tokentoken"}],
)
def test_with_the_password_a_visitor_stays_in(headers: dict[str, str]) -> None:
    client = _client("ann:secret word,tokentoken")

    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/").status_code == 200
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    with client.websocket_connect("/socket", headers={"host": "localhost:7860", "cookie": cookie}) as socket:
        assert socket.receive_text() == "in"


def test_a_hash_does_for_a_password() -> None:
    client = _client(f"ann:{HASH}")

    assert client.get("/", headers=_basic("ann:password, 1")).status_code == 200
    client.cookies.clear()
    assert client.get("/", headers=_basic(f"ann:{HASH}")).status_code == 401


@pytest.mark.parametrize("text", ["short", "ann:short", "", "ann:long enough,bob:no", "ann:$argon2id$broken"])
def test_what_keeps_nobody_out_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--api_auth"):
        read_credentials(text)

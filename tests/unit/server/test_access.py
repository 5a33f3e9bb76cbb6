"""Who is let in: by name, by origin, by password."""

from __future__ import annotations

import base64

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from sfumato.server.access import COOKIE, Access, Guard


def _client(**access: object) -> TestClient:
    app = FastAPI()

    @app.get("/")
    @app.post("/")
    def page() -> str:
        return "in"

    @app.websocket("/socket")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("in")

    app.add_middleware(Guard, access=Access(**access))
    return TestClient(app, base_url="http://localhost:7860")


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:7860", "192.168.1.5", "[::1]:7860", "den"])
def test_answers_to_addresses_and_to_its_own_names(host):
    assert _client(names=["den"]).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:7860"])
def test_does_not_answer_to_other_names(host):
    answer = _client().get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "does not answer to the name" in answer.text


@pytest.mark.parametrize(
    ("origin", "status"), [("http://localhost:7860", 200), ("http://evil.example", 403), ("null", 403)]
)
def test_other_pages_change_nothing(origin, status):
    assert _client().post("/", headers={"origin": origin}).status_code == status


def test_a_program_without_a_page_may_post():
    assert _client().post("/").status_code == 200


def test_other_pages_get_no_socket():
    client = _client()
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/socket", headers={"origin": "http://evil.example"}),
    ):
        pass
    with client.websocket_connect(
        "/socket", headers={"origin": "http://localhost:7860", "host": "localhost:7860"}
    ) as it:
        assert it.receive_text() == "in"


def _basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [{}, _basic("ann:wrong"), {"authorization": "Basic !"}, {"authorization": "Basic /w=="}, {"cookie": f"{COOKIE}=x"},
     {"authorization": "Bearer "}],
)  # fmt: skip
def test_without_the_password_nobody_comes_in(headers):
    answer = _client(credentials="ann:secret").get("/", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", [_basic("ann:secret"), {"authorization": "Bearer ann:secret"}])
def test_with_the_password_a_visitor_stays_in(headers):
    client = _client(credentials="ann:secret")
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/").status_code == 200
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    with client.websocket_connect("/socket", headers={"host": "localhost:7860", "cookie": cookie}) as socket:
        assert socket.receive_text() == "in"


def test_a_socket_needs_the_password_too():
    with pytest.raises(WebSocketDisconnect), _client(credentials="ann:secret").websocket_connect("/socket"):
        pass

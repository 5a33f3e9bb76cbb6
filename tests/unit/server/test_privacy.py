"""The sockets that are told are those that there are; and a model's headers over the API."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sfumato.server.privacy import sockets
from sfumato.server.services import Services


def test_what_listens_is_told_and_who_is_connected(services: Services) -> None:
    before = sockets(services)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            seen = sockets(services)
    assert f"127.0.0.1:{port}" in seen.listening
    assert f"127.0.0.1:{port}" not in before.listening
    assert "127.0.0.1" in seen.clients
    assert seen.outbound == []
    assert seen.known


def test_a_connection_to_elsewhere_would_be_told(services: Services) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
        try:
            talk.connect(("192.0.2.1", 9))  # chooses a way there, and sends nothing
        except OSError:
            pytest.skip("there is no way out of here at all")
        assert sockets(services).outbound == ["192.0.2.1:9"]
    assert sockets(services).outbound == []


def test_workers_that_are_gone_do_not_matter(services: Services) -> None:
    assert sockets(replace(services, pids=lambda: [2**22 + 1])) == sockets(services)
    assert sockets(replace(services, pids=lambda: [os.getpid()])).known


def test_a_models_headers_are_told_by_name_only(client: TestClient, tmp_path: Path) -> None:
    found = client.get("/api/v1/models/own").json()
    assert (found["name"], found["kind"], found["bytes"]) == ("own", "unknown", 8)
    assert found["problem"]
    assert client.get(f"/api/v1/models/{tmp_path}/own.safetensors").status_code == 404
    assert client.get("/api/v1/privacy").json()["known"] is True

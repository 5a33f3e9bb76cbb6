"""Requests made up from the OpenAPI schema, right and wrong ones: none is the server's fault, and each is answered.

    SCHEMA_CASES=2000 python -m pytest -n 0 tests/unit/server/test_schema.py

The environment variable says how many requests each dialect gets.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services

CASES = int(os.environ.get("SCHEMA_CASES", "60"))
#: Seconds that an answer may take.
PATIENCE = 20
#: A stream of everything that happens ends when its listener goes.
ENDLESS = {"/api/v1/events"}
#: Each dialect, and what its paths begin with; ComfyUI's are those under ``/api`` that are not ours.
DIALECTS = {"native": r"/api/v1/", "sdapi": r"/sdapi/v1/", "openai": r"/v1/", "comfyui": r"/api/(?!v1/)"}
#: Refused in the server's own words, as the schema's description says.
NOT_SUPPORTED = 501


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    app = create(replace(services, limits=replace(services.limits, jobs=100_000)), Access())
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def _bombard(operation: Any, mode: GenerationMode, count: int, number: int, try_: Callable[[Any], None]) -> None:
    @seed(number)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        try_(case)

    run()


@pytest.mark.slow
@pytest.mark.timeout(max(300, CASES * 2))
@pytest.mark.filterwarnings("ignore::Warning:schemathesis", "ignore::Warning:hypothesis")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_request_is_the_servers_fault(address: str, dialect: str) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    found = [each.ok() for each in schema.get_all_operations()]
    operations = [each for each in found if re.match(DIALECTS[dialect], each.path) and each.path not in ENDLESS]
    statuses: Counter[int] = Counter()

    def try_(case: Any) -> None:
        try:
            answer = case.call(base_url=address, timeout=PATIENCE)
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            return  # what no client can send
        statuses[answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code == NOT_SUPPORTED, answer.content

    kinds = [(each, mode) for each in operations for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    number = 0
    while statuses.total() < CASES:
        for operation, mode in tuple(kinds):
            try:
                _bombard(operation, mode, max(1, CASES // len(kinds)), number, try_)
            except Unsatisfiable:  # there is nothing in it that could be wrong
                kinds.remove((operation, mode))
        number += 1
        assert number < 50, statuses
    assert {200, 400 if dialect == "openai" else 422} <= set(statuses), statuses
    logging.getLogger(__name__).info("%s: %s", dialect, dict(statuses))

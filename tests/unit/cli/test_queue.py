"""``sfumato queue`` without workers: what is added, shown and moved, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sfumato.cli import entry
from sfumato.jobs.queue import JobQueue

Capture = pytest.CaptureFixture[str]
ADD = ("add", "--steps", "4", "--resolution", "64x64", "--seed", "7")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run(*words: str) -> int:
    return entry.run(["queue", *words], "sfumato")


def _list(capsys: Capture) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert _run("list", "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_is_added_is_listed_and_moved(capsys: Capture) -> None:
    assert _run("list") == 0
    assert "queue is empty" in capsys.readouterr().out

    assert _run(*ADD, "--prompt", "a cat", "--prompt", "a dog", "--n_iter", "2") == 0
    ids = capsys.readouterr().out.split()
    found = _list(capsys)
    assert [job["id"] for job in found] == ids
    assert [(job["prompt"], job["seed"], job["state"]) for job in found] == [
        ("a cat", 7, "queued"), ("a cat", 8, "queued"), ("a dog", 7, "queued"), ("a dog", 8, "queued"),
    ]  # fmt: skip

    assert _run("pause", ids[0]) == 0
    assert _run("cancel", ids[1][:8], ids[2]) == 0
    assert _run("forget", ids[1]) == 0
    assert [job["state"] for job in _list(capsys)] == ["paused", "cancelled", "queued"]
    assert _run("resume", ids[0]) == 0
    assert _run("retry", ids[2]) == 0
    assert _run("list") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["queued"] * 3
    queue = JobQueue(Path("jobs"))
    assert (queue.get(ids[0]).request.steps, queue.get(ids[0]).request.width) == (4, 64)
    queue.close()


def test_a_key_adds_once(capsys: Capture) -> None:
    for _ in range(2):
        assert _run(*ADD, "--prompt", "a cat", "--prompt", "a dog", "--key", "pets") == 0

    assert [job["prompt"] for job in _list(capsys)] == ["a cat", "a dog"]
    assert _run(*ADD, "--prompt", "a fish", "--key", "pets") == 2
    assert "used before with another request" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lisst",), "nearest: 'list'"),
        (("cancel",), "Which job?"),
        (("cancel", "0123456789"), "no job '0123456789'"),
        (("list", "x"), "takes no job"),
        (("add", "--prompt", "a", "--steps", "0"), "--steps 0"),
    ],
)
def test_what_can_not_be_done_is_one_line(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    assert _run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_move_that_the_state_forbids_names_those_that_it_allows(capsys: Capture) -> None:
    _run(*ADD, "--prompt", "a cat")
    job = capsys.readouterr().out.strip()

    assert _run("retry", job) == 2
    assert "possible: start, pause, cancel" in capsys.readouterr().err

"""The bar: only on a terminal, and never on standard output."""

from __future__ import annotations

import io

import pytest

from sfumato.cli.progress import step_bar
from sfumato.request import StepEvent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _three_steps() -> None:
    with step_bar("a [red] apple") as on_step:
        for step in (1, 2, 3):
            on_step(StepEvent(step=step, steps=3, seconds=0.1))


def test_no_bar_when_the_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _three_steps()

    assert capsys.readouterr() == ("", "")


def test_a_bar_with_step_and_speed_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    _three_steps()

    assert "a [red] apple" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "it/s" in terminal.getvalue()
    assert capsys.readouterr().out == ""

"""File names: patterns, and values that must not leave the folder."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from sfumato.errors import ConfigError
from sfumato.gallery import names

from .test_infotext import INFO

NOW = datetime(2026, 1, 2, 3, 4, 5)


def test_the_default_pattern_is_by_date() -> None:
    assert str(names.fill(names.DEFAULT_PATTERN, INFO, NOW)) == "2026-01-02/[number]-42"


@pytest.mark.parametrize("token", names.TOKENS)
def test_every_token_gives_a_name(token: str) -> None:
    assert str(names.fill(f"x[{token}]", INFO, NOW)) != f"x[{token}]" or token == "number"


@pytest.mark.parametrize("prompt", ["../../etc/passwd", "C:\\windows", "\0", "a/b", "..", "   ", "é" * 500, "con"])
def test_words_cannot_leave_the_folder(prompt: str) -> None:
    path = names.fill("[prompt]", dataclasses.replace(INFO, prompt=prompt), NOW)

    assert len(path.parts) == 1
    assert path.name not in {"", ".", "..", "con"}
    assert len(path.name) <= names.MAX_WORDS
    assert not set(path.name) & set('/\\:\0*?"<>|')


@pytest.mark.parametrize("pattern", ["", "/etc/x", "../x", "a/../b", "a//b", "C:x", "a\\..\\b", ".", "[number]/[seed]"])
def test_patterns_that_leave_the_folder_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"output\.pattern"):
        names.check_pattern(pattern)


def test_an_unknown_token_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"\[sead\]; nearest: 'seed'"):
        names.check_pattern("[sead]")

"""The catalogue of sentences has what the pages say, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import sfumato.server.ui
from sfumato.config import Settings
from sfumato.config.reader import flatten
from sfumato.jobs.states import State
from sfumato.server.ui.frame import PAGES
from sfumato.server.ui.setting_words import SETTINGS
from sfumato.server.ui.words import WORDS

SOURCES = sorted(Path(sfumato.server.ui.__file__).parent.glob("*.py"))


def _strings() -> set[str]:
    """Every string in the pages' sources but the catalogue's own."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES if path.name != "words.py"]
    return {
        n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def test_every_sentence_is_used():
    assert set(WORDS) - _strings() - {state.value for state in State} == set()


def test_every_setting_has_words():
    assert set(SETTINGS) == {key for key, _ in flatten(Settings().model_dump()).items()}


def test_every_page_and_state_has_words():
    assert set(PAGES) <= set(WORDS)
    assert {state.value for state in State} - {"running"} <= set(WORDS)

"""Choices in prompts: braces, wildcards, weights, loops, and the same choice for the same seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sfumato.errors import RequestError
from sfumato.prompt import dynamic


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {
        "colour": "# colours\nred\n\n3::blue\n0::never\n",
        "animal/pet": "a __colour__ cat\na {small|large} dog\n",
        "loop": "a __round__\n",
        "round": "b __loop__\n",
        "empty": "# nothing\n",
    }
    for name, text in texts.items():
        path = tmp_path / "w" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "w" / "latin.txt").write_bytes(b"caf\xe9")
    return dynamic.list_wildcards([tmp_path / "none", tmp_path / "w"])


def _all(prompt: str, files: dict[str, Path] | None = None, count: int = 400) -> Counter[str]:
    return Counter(dynamic.choose(prompt, seed, files or {}) for seed in range(count))


def test_the_choice_follows_from_seed_and_prompt_alone(files: dict[str, Path]) -> None:
    prompt = "{a|b|c} __animal/pet__ {2$$x|y|z}"

    assert [dynamic.choose(prompt, seed, files) for seed in range(20)] == [
        dynamic.choose(prompt, seed, files) for seed in range(20)
    ]
    assert dynamic.choose("{a|b|c|d|e|f|g|h} {a|b|c|d|e|f|g|h}", 7, {}) == "e f", (
        "what it was on the day it was decided"
    )


def test_every_option_is_taken_as_often() -> None:
    found = _all("a {red|green|blue} car", count=3000)

    assert set(found) == {"a red car", "a green car", "a blue car"}
    assert all(abs(count - 1000) < 150 for count in found.values())


def test_weights(files: dict[str, Path]) -> None:
    for prompt in ("__colour__", "{red|3::blue|0::never}"):
        found = _all(prompt, files, 2000)
        assert set(found) == {"red", "blue"}
        assert abs(found["blue"] - 1500) < 120


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{2$$a|b|c}", {"a, b", "a, c", "b, a", "b, c", "c, a", "c, b"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{0-1$$a|b}", {"", "a", "b"}),
        ("{9$$a|b}", {"a, b", "b, a"}),
        ("{$$a|b}", {"a", "b"}),
        ("{a|{b|c} d}", {"a", "b d", "c d"}),
        ("{a|}", {"a", ""}),
        ("{[x|y]|(p:1.2)}", {"[x|y]", "(p:1.2)"}),
    ],
)
def test_braces(prompt: str, expected: set[str]) -> None:
    assert set(_all(prompt)) == expected


@pytest.mark.parametrize("prompt", ["{word}", r"\{a|b\}", "{a|b", "a|b}", r"\__colour__", "a _ b __ c", "[a|b]", "{}"])
def test_letters_stay_letters(prompt: str, files: dict[str, Path]) -> None:
    assert dynamic.choose(prompt, 7, files) == prompt


def test_wildcards_lie_in_folders_and_in_each_other(files: dict[str, Path]) -> None:
    assert set(files) == {"colour", "animal/pet", "loop", "round", "empty", "latin"}
    assert set(_all("__animal/pet__!", files)) == {"a red cat!", "a blue cat!", "a small dog!", "a large dog!"}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("__color__", "nearest: 'colour'"),
        ("__animal/../../passwd__", "no wildcard"),
        ("__loop__", "loop → round → loop"),
        ("__empty__", "no choices"),
        ("__latin__", "not UTF-8"),
        ("{" * 99 + "a|b" + "}" * 99, "50 deep"),
        ("{a|b}" * 10_001, "10000 choices"),
    ],
)
def test_what_is_wrong_is_said(prompt: str, said: str, files: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match=said):
        dynamic.choose(prompt, 7, files)


def test_braces_without_partners_are_read_in_linear_time() -> None:
    assert dynamic.choose("{" * 50_000, 7, {}) == "{" * 50_000

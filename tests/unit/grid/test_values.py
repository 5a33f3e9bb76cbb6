"""Lists of values; numbers that the web UI's own expressions give stand here as they come out there."""

from __future__ import annotations

import pytest

from sfumato.errors import RequestError
from sfumato.grid import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3", [1, 2, 3]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("5-1", [5, 4, 3, 2, 1]),
        ("1-10 (+2)", [1, 3, 5, 7, 9]),
        ("10-5 (-3)", [10, 7]),
        ("1-10 [5]", [1, 3, 5, 7, 10]),
        ("0-100 [6]", [0, 20, 40, 60, 80, 100]),
        ("7, 20-22, -1", [7, 20, 21, 22, -1]),
        ("4 [1]", None),
    ],
)
def test_whole_numbers(text: str, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises(RequestError, match="whole number"):
            values.whole_numbers(text)
    else:
        assert values.whole_numbers(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-3 (+0.5)", [1, 1.5, 2, 2.5, 3]),
        ("0.1-0.5 (+0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("7.5", [7.5]),
    ],
)
def test_numbers(text: str, expected: list[float]) -> None:
    assert values.numbers(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", " , ", '"a', "1-9 (+0)", "1-9 (-1)", "1-9 [0]", "1-99999", "x", "1-5 [2000]"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        values.whole_numbers(text)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_only_finite_numbers(text: str) -> None:
    with pytest.raises(RequestError):
        values.numbers(text)


def test_quotes_keep_commas() -> None:
    assert values.words('a, "b, ""c""", d') == ["a", 'b, "c"', "d"]


def test_switches_and_sizes() -> None:
    assert values.switches("yes,OFF") == [True, False]
    assert values.sizes("64x32,128") == [(64, 32), (128, 128)]
    for read, text in ((values.switches, "perhaps"), (values.sizes, "64by64")):
        with pytest.raises(RequestError):
            read(text)

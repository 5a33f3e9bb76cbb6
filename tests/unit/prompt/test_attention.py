"""Weights as the web UI reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.prompt.attention import BREAK, parse_attention


def test_nesting_multiplies():
    result = parse_attention("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).")

    assert result == [
        ("a ", 1.0),
        ("house", 1.5730000000000004),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641000000000006),
        (".", 1.1),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]", [("a", 1 / 1.1)]),
        ("(a:-1)", [("a", -1.0)]),
        ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),
        ("a: b", [("a: b", 1.0)]),
        ("(a BREAK b:1.5)", [("a", 1.5), BREAK, ("b", 1.5)]),
        ("a BREAK BREAK b", [("a", 1.0), BREAK, BREAK, ("b", 1.0)]),
        ("BREAKFAST", [("BREAKFAST", 1.0)]),
        ("\\\\", [("\\", 1.0)]),
    ],
)
def test_corner_cases(text, expected):
    assert parse_attention(text) == expected


@given(st.text(max_size=60))
def test_any_text_has_a_reading(text):
    assert parse_attention(text)

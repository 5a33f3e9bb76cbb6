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
        ("a BREAK BREAK b", [("a", 1.0), BREAK, ("", 1.0), BREAK, ("b", 1.0)]),
        ("BREAK a", [("", 1.0), BREAK, ("a", 1.0)]),
        ("(a:-1)BREAK(b:-1)", [("a", -1.0), ("", 1.0), BREAK, ("", 1.0), ("b", -1.0)]),
        ("(a:-1) BREAK", [("a", -1.0), ("", 1.0), BREAK, ("", 1.0)]),
        ("a\n BREAK\n b", [("a", 1.0), BREAK, ("b", 1.0)]),
        ("BREAKFAST", [("BREAKFAST", 1.0)]),
        ("\\\\", [("\\", 1.0)]),
        ("a \\: b \\| c\\", [("a : b | c", 1.0)]),
        (r"\(\[\)\]", [("([)]", 1.0)]),
        ("(a : +.5 )", [("a ", 0.5)]),
        ("a:1.3)", [("a:1.3)", 1.0)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        ("(a) [b", [("a", 1.1), (" ", 1.0), ("b", 1 / 1.1)]),
        ("a) b]", [("a) b]", 1.0)]),
        ("(a:.)", [("a:.)", 1.1)]),
        ("()", [("", 1.0)]),
    ],
)
def test_corner_cases(text, expected):
    assert parse_attention(text) == expected


@given(st.text(max_size=60))
def test_any_text_has_a_reading(text):
    assert parse_attention(text)


@given(st.text(alphabet="abc ,.'-\n", min_size=1, max_size=60))
def test_plain_text_is_itself(text):
    assert parse_attention(text) == [(text, 1.0)]


def test_long_and_deep_texts_take_no_time():
    deep = parse_attention("(" * 2000 + "a" + ")" * 2000)

    assert [text for text, _ in deep] == ["a"]
    assert parse_attention(" " * 100_000) == [(" " * 100_000, 1.0)]

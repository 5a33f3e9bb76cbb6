"""The schedules that the web UI's own tests pin, and texts that must never break."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.prompt.schedule import schedule

TEN = {
    "test": [(10, "test")],
    "a [b:3]": [(3, "a "), (10, "a b")],
    "a [b: 3]": [(3, "a "), (10, "a b")],
    "a [[[b]]:2]": [(2, "a "), (10, "a [[b]]")],
    "[(a:2):3]": [(3, ""), (10, "(a:2)")],
    "a[b:[c:d:2]:1]e": [(1, "abe"), (2, "ace"), (10, "ade")],
    "a [unbalanced": [(10, "a [unbalanced")],
    "a [b:.5] c": [(5, "a  c"), (10, "a b c")],
    "a [{b|d{:.5] c": [(10, "a [{b|d{:.5] c")],
    "((a][:b:c [d:3]": [(3, "((a][:b:c "), (10, "((a][:b:c d")],
    "[a|(b:1.1)]": [(k, ["(b:1.1)", "a"][k % 2]) for k in range(1, 11)],
    "[fe|]male": [(k, ["male", "female"][k % 2]) for k in range(1, 11)],
    "[fe|||]male": [(k, "female" if k % 4 == 1 else "male") for k in range(1, 11)],
    "a [b::3]": [(3, "a b"), (10, "a ")],
    r"a \[b:3\]": [(10, r"a \[b:3\]")],
    "[a:b:c:3]": [(10, "[a:b:c:3]")],
    "[a:b:0]": [(10, "b")],
    "[a:b:99]": [(10, "a")],
    "[a:b:-1]": [(10, "b")],
    "[a:b:.05]": [(10, "b")],
    "[a:b:1e3]": [(10, "a")],
    "[a:b:1.0]": [(10, "a")],
    "[a:b:x]": [(10, "[a:b:x]")],
    "[a:b: 3 ]c": [(3, "ac"), (10, "bc")],
    "a [b : c : 1] d": [(1, "a b  d"), (10, "a  c  d")],
    "[::3]": [(3, ""), (10, "")],
    "([a:b:3]:1.2)": [(3, "(a:1.2)"), (10, "(b:1.2)")],
    "[(a:b):c:3]": [(3, "(a:b)"), (10, "c")],
    r"[a\:b:c:3]": [(3, r"a\:b"), (10, "c")],
    "[[a|b]:c:2]": [(1, "a"), (2, "b"), *((k, "c") for k in range(3, 11))],
    "[a|[b:c:4]]": [(1, "a"), (2, "b"), (3, "a"), (4, "b"), *((k, "ac"[k % 2 == 0]) for k in range(5, 11))],
    "[|]": [(k, "") for k in range(1, 11)],
}


@pytest.mark.parametrize("text", TEN)
def test_as_the_web_ui(text):
    assert schedule(text, 10) == TEN[text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [b:.5] c", [(10, "a b c")]),
        ("a [b:1.5] c", [(5, "a  c"), (10, "a b c")]),
        ("a [b:15] c", [(5, "a  c"), (10, "a b c")]),
    ],
)
def test_second_pass(text, expected):
    assert schedule(text, 10, hires_steps=10) == expected


@pytest.mark.parametrize(
    "text", ["a | b [c:d:3]", "[a|b:3] [c:d:3]", "(a|b) [c:d:3]", "[c:d:3] a\\", "[c:d:3] \\\n", "[c:d:3] [e|f"]
)
def test_a_syntax_error_makes_the_whole_text_literal(text):
    assert schedule(text, 10) == [(10, text)]


def test_long_and_deep_texts_take_no_time():
    depth = 3000

    assert schedule("[a:" * depth + "b" + ":3]" * depth, 10) == [(3, "a"), (10, "b")]
    assert schedule("(" * depth + "[a|b]" + ")" * depth, 1) == [(1, "(" * depth + "a" + ")" * depth)]
    assert schedule("[" * 50_000, 10) == [(10, "[" * 50_000)]


@given(st.text(alphabet="ab[]():|\\ .39", max_size=40), st.integers(1, 30))
def test_any_text_has_a_schedule_to_the_last_step(text, steps):
    result = schedule(text, steps)

    assert result[-1][0] == steps
    assert [end for end, _ in result] == sorted({end for end, _ in result})


@given(st.text(alphabet="abc ,.", max_size=30))
def test_plain_text_is_itself(text):
    assert schedule(text, 7) == [(7, text)]

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


@given(st.text(alphabet="ab[]():|\\ .39", max_size=40), st.integers(1, 30))
def test_any_text_has_a_schedule_to_the_last_step(text, steps):
    result = schedule(text, steps)

    assert result[-1][0] == steps
    assert [end for end, _ in result] == sorted({end for end, _ in result})


@given(st.text(alphabet="abc ,.", max_size=30))
def test_plain_text_is_itself(text):
    assert schedule(text, 7) == [(7, text)]

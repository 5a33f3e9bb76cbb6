"""Whole prompts: AND, weights and schedules together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.prompt.compose import plan, plan_negative, split_and


def test_and_needs_a_word_of_its_own():
    assert split_and("SAND AND LAND") == [("SAND", 1.0), (" LAND", 1.0)]


def test_a_negative_weight_counts():
    assert split_and("a cat :-0.5")[0] == ("a cat", -0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a:1.2", [("a", 1.2)]),
        ("a : 2. ", [("a", 2.0)]),
        ("a:+.5", [("a", 0.5)]),
        ("a:1:2", [("a:1", 2.0)]),
        ("a:b", [("a:b", 1.0)]),
        ("a:", [("a:", 1.0)]),
        ("(a:1.2)", [("(a:1.2)", 1.0)]),
        ("a\nb :2 AND c", [("a\nb", 2.0), (" c", 1.0)]),
        ("AND", [("", 1.0), ("", 1.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_weights_of_parts(text, expected):
    assert split_and(text) == expected


def test_many_spaces_take_no_time():
    assert split_and(" " * 100_000 + "a") == [(" " * 100_000 + "a", 1.0)]


@given(st.text(alphabet="ab[]():|\\ .39ANDBREK", max_size=40), st.integers(1, 12))
def test_any_text_has_a_plan_for_every_step(text, steps):
    for part in plan(text, steps).parts:
        assert part.spans[-1].until == steps
        assert all(part.at(step) for step in range(steps))


def test_a_negative_prompt_has_a_schedule_of_its_own():
    part = plan_negative("[a:b:1] (c:1.5)", 2)

    assert part.at(0) == (("a ", 1.0), ("c", 1.5))
    assert part.at(1) == (("b ", 1.0), ("c", 1.5))


def test_each_part_has_its_own_schedule():
    parts = plan("a [b:2] AND c :0.5", 4).parts

    assert [part.weight for part in parts] == [1.0, 0.5]
    assert [parts[0].at(step) for step in (0, 1, 2, 3)] == [
        (("a ", 1.0),),
        (("a ", 1.0),),
        (("a b", 1.0),),
        (("a b", 1.0),),
    ]
    assert parts[1].at(3) == ((" c", 1.0),)


def test_a_negative_prompt_has_no_and():
    assert plan_negative("a AND b", 3).at(0) == (("a AND b", 1.0),)

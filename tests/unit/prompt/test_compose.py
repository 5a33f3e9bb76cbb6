"""Whole prompts: AND, weights and schedules together."""

from sfumato.prompt.compose import plan, plan_negative, split_and


def test_and_needs_a_word_of_its_own():
    assert split_and("SAND AND LAND") == [("SAND", 1.0), (" LAND", 1.0)]


def test_a_negative_weight_counts():
    assert split_and("a cat :-0.5")[0] == ("a cat", -0.5)


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

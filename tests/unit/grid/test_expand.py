"""Grids of requests: axes over any field, search and replace, the order of models, and the prompt matrix."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from sfumato.errors import RequestError
from sfumato.grid.axes import Axis, make_axis, parse_axis, readers
from sfumato.grid.expand import expand, matrix
from sfumato.request import InitImage, Txt2ImgRequest

REQUEST = Txt2ImgRequest(prompt="a cat in the rain", negative_prompt="a cat", seed=7, width=64, height=64)


def test_all_combinations_in_the_order_of_reading() -> None:
    grid = expand(REQUEST, parse_axis("steps=1,2,3"), parse_axis("cfg_scale=5,7.5"), parse_axis("seed=7,8"))

    found = [(c.z, c.y, c.x, c.request.seed, c.request.cfg_scale, c.request.steps) for c in grid.cells]
    expected = [(z, y, x, (7, 8)[z], (5.0, 7.5)[y], (1, 2, 3)[x]) for z in range(2) for y in range(2) for x in range(3)]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("CFG Scale=5", "cfg_scale", 5.0),
        ("Sampler=Euler a", "sampler", "Euler a"),
        ("Schedule type=Karras", "scheduler", "Karras"),
        ("Checkpoint name=my model", "model", "my model"),
        ("Clip skip=2", "clip_skip", 2),
        ("Prompt S/R=cat", "prompt_sr", "cat"),
        ("Size=64x32", "size", (64, 32)),
        ("Denoising=0.5", "denoising_strength", 0.5),
    ],
)
def test_the_web_uis_names_of_axes(text: str, field: str, value: object) -> None:
    assert parse_axis(text) == Axis(field, (value,))


def test_every_plain_field_of_a_request_is_an_axis() -> None:
    known = readers()

    assert {"prompt", "negative_prompt", "width", "steps", "seed", "sampler", "eta", "clip_skip"} <= set(known)
    assert "batch_size" not in known
    assert "init.denoising_strength" in known


def test_search_and_replace_goes_through_both_prompts() -> None:
    grid = expand(REQUEST, parse_axis('prompt_sr=cat,dog,"cat, dog"'))

    assert [c.request.prompt for c in grid.cells] == [f"a {w} in the rain" for w in ("cat", "dog", "cat, dog")]
    assert [c.request.negative_prompt for c in grid.cells] == ["a cat", "a dog", "a cat, dog"]


def test_search_and_replace_follows_a_prompt_axis() -> None:
    grid = expand(REQUEST, parse_axis("prompt_sr=red,blue"), parse_axis("prompt=a red car,a red bus"))

    assert [c.request.prompt for c in grid.cells] == ["a red car", "a blue car", "a red bus", "a blue bus"]


def test_each_model_is_loaded_once() -> None:
    grid = expand(REQUEST, parse_axis("model=one,two"), parse_axis("steps=1,2"), model="base")

    assert [c.model for c in grid.cells] == ["one", "two", "one", "two"]
    assert grid.by_model == (0, 2, 1, 3)


def test_the_strength_of_a_picture_to_start_from() -> None:
    start = replace(REQUEST, init=InitImage(picture=Image.new("RGB", (64, 64))))
    axis = parse_axis("denoising_strength=0.2,0.9")

    strengths = [c.request.init.denoising_strength for c in expand(start, axis).cells if c.request.init]

    assert strengths == [0.2, 0.9]
    with pytest.raises(RequestError, match="nothing to vary"):
        expand(REQUEST, axis)


def test_lists_are_values_too() -> None:
    assert make_axis("sampler", ["Euler a", "DPM++ 2M"]).values == ("Euler a", "DPM++ 2M")
    assert make_axis("steps", [1, 2]).values == (1, 2)
    assert make_axis("size", [[64, 32]]).values == ((64, 32),)
    assert make_axis("prompt", ['"quoted", words']).values == ('"quoted", words',)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step=1,2", "nearest: 'steps'"),
        ("steps", "field=values"),
        ("sampler=Eular", "Euler"),
        ("scheduler=karas", "Karras"),
        ("steps=", "no values"),
    ],
)
def test_what_is_unknown_is_told_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_axis(text)


def test_what_does_not_fit_the_request_is_refused() -> None:
    steps = parse_axis("steps=1-40")
    with pytest.raises(RequestError, match="Two axes"):
        expand(REQUEST, steps, steps)
    with pytest.raises(RequestError, match="1600 pictures"):
        expand(REQUEST, steps, parse_axis("seed=1-40"))
    with pytest.raises(RequestError, match="one picture a cell"):
        expand(replace(REQUEST, batch_size=2), steps)
    with pytest.raises(RequestError, match="Neither prompt has 'bird'"):
        expand(REQUEST, parse_axis("prompt_sr=bird,cat"))


def test_a_matrix_has_every_choice_of_parts() -> None:
    grid = matrix(replace(REQUEST, prompt="a city|painted|at night, cold,|from above"))

    assert len(grid.cells) == 8
    assert grid.cells[0].request.prompt == "a city"
    assert grid.cells[5].request.prompt == "a city, painted, from above"
    assert grid.cells[7].request.prompt == "a city, painted, at night, cold, from above"
    assert (grid.cells[5].x, grid.cells[5].y) == (1, 1)
    assert grid.x.labels == ("–", "painted", "at night, cold", "painted\nat night, cold")
    assert grid.y.labels == ("–", "from above")


@pytest.mark.parametrize("prompt", ["a city", "|".join("abcdefghijkl")])
def test_a_matrix_needs_some_parts_and_not_too_many(prompt: str) -> None:
    with pytest.raises(RequestError, match="parts after a bar"):
        matrix(replace(REQUEST, prompt=prompt))


def test_bars_in_brackets_belong_to_the_prompt() -> None:
    grid = matrix(replace(REQUEST, prompt=r"[a|b] (c|d) {e|f}|g\|h"))

    assert [cell.request.prompt for cell in grid.cells] == ["[a|b] (c|d) {e|f}", r"[a|b] (c|d) {e|f}, g\|h"]

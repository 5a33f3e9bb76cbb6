"""What is filled in on the page that explores becomes a grid of requests."""

from __future__ import annotations

import pytest

from sfumato.errors import RequestError
from sfumato.grid import axes
from sfumato.server.ui.explore_form import AXES, HINTS, ExploreForm


def test_every_field_has_a_hint():
    for field, read in axes.readers().items():
        assert read in HINTS
        assert ExploreForm(x_field=field).hint("x")


def test_axes_lie_where_they_were_chosen():
    form = ExploreForm(
        prompt="a cat",
        seed=5,
        batch_size=3,
        x_field="",
        y_field="steps",
        y_values="2, 4",
        z_field="cfg_scale",
        z_values="1-2",
    )
    grid = form.grid()
    assert [(len(grid.x.values), len(grid.y.values), len(grid.z.values))] == [(1, 2, 2)]
    assert [(cell.request.steps, cell.request.cfg_scale) for cell in grid.cells] == [(2, 1), (4, 1), (2, 2), (4, 2)]
    assert {(cell.request.seed, cell.request.batch_size) for cell in grid.cells} == {(5, 1)}


def test_a_seed_that_is_not_given_is_one_for_all():
    seeds = [{cell.request.seed for cell in ExploreForm(prompt="a|b|c", matrix=True).grid().cells} for _ in range(3)]
    assert all(len(each) == 1 and None not in each for each in seeds)
    assert len(set.union(*seeds)) == 3


def test_the_same_grid_comes_again():
    form = ExploreForm(prompt="a cat", x_field="steps", x_values="1-3")
    grid = form.grid()
    assert grid.cells[0].request.seed is not None
    assert ExploreForm.of(form.pinned(grid.cells[0].request.seed)).grid() == grid


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"x_field": ""}, "at least one axis"),
        ({"x_field": "steps", "x_values": ""}, "no values"),
        ({"x_field": "steps", "x_values": "a"}, "not a whole number"),
        ({"x_field": "steps", "x_values": "1", "y_field": "steps", "y_values": "2"}, "Two axes"),
        ({"matrix": True}, "parts after a bar"),
        ({"steps": None}, "Steps is empty"),
    ],
)
def test_what_is_no_grid_is_told(values, words):
    with pytest.raises(RequestError, match=words):
        ExploreForm(prompt="a cat", **values).grid()


def test_no_axis_has_no_hint():
    assert [ExploreForm(x_field="").hint(axis) for axis in AXES] == ["", "", ""]

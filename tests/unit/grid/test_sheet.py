"""The sheet: every picture in its cell, labels in the margins, wrapped."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from sfumato.errors import RequestError
from sfumato.grid.axes import parse_axis
from sfumato.grid.expand import Grid, expand
from sfumato.grid.sheet import draw_sheet, wrap
from sfumato.request import Txt2ImgRequest

SIZE = (96, 64)


def _grid(*axes: str) -> Grid:
    return expand(Txt2ImgRequest(prompt="a cat", seed=7), *(parse_axis(axis) for axis in axes))


def _colours(count: int) -> list[tuple[int, int, int]]:
    return [(10 + 7 * k, 200 - 3 * k, 40 + 5 * k) for k in range(count)]


def _where(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box that has this colour: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_every_picture_is_whole_and_in_its_place() -> None:
    grid = _grid("steps=1-3", "cfg_scale=5,7", "sampler=Euler,Heun")
    colours = _colours(len(grid.cells))

    sheet = draw_sheet(grid, [Image.new("RGB", SIZE, colour) for colour in colours])

    boxes = [_where(sheet, colour) for colour in colours]
    assert all((right - left, bottom - top) == SIZE for left, top, right, bottom in boxes)
    for cell, box in zip(grid.cells, boxes, strict=True):
        for other, place in zip(grid.cells, boxes, strict=True):
            assert (cell.x < other.x) == (box[2] <= place[0]), "columns"
            assert (cell.x == other.x) == (box[0] == place[0]), "columns"
            assert ((cell.z, cell.y) < (other.z, other.y)) == (box[3] <= place[1]), "rows"


def test_labels_are_written_in_the_margins_only() -> None:
    grid = _grid("steps=1-3", "cfg_scale=5,7")
    plain = np.asarray(draw_sheet(grid, [Image.new("RGB", SIZE, "white")] * 6).convert("L"))

    box = _where(draw_sheet(grid, [Image.new("RGB", SIZE, "red")] * 6), (255, 0, 0))

    assert plain[: box[1]].min() < 100
    assert plain[:, : box[0]].min() < 100
    assert plain[box[1] :, box[0] :].min() == 255


def test_a_picture_that_is_missing_leaves_its_cell_grey() -> None:
    sheet = draw_sheet(_grid("steps=1,2"), {1: Image.new("RGB", SIZE, "red")})

    left, top, _, bottom = _where(sheet, (255, 0, 0))
    assert set(np.asarray(sheet)[top:bottom, left - SIZE[0] : left - 10].flatten()) == {0xCC}
    with pytest.raises(RequestError, match="no picture"):
        draw_sheet(_grid("steps=1,2"), {})


def test_pictures_of_other_sizes_lie_in_the_middle() -> None:
    sheet = draw_sheet(_grid("size=96x64,32"), [Image.new("RGB", SIZE, "red"), Image.new("RGB", (32, 32), "blue")])

    red, blue = _where(sheet, (255, 0, 0)), _where(sheet, (0, 0, 255))
    assert blue[1] - red[1] == red[3] - blue[3] == 16
    assert (blue[2] - blue[0], blue[3] - blue[1]) == (32, 32)


def test_huge_sheets_are_drawn_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.grid.sheet.MAX_PIXELS", 4 * 48 * 32)

    sheet = draw_sheet(_grid("steps=1-4"), [Image.new("RGB", SIZE, "red")] * 4)

    assert sheet.width < 4 * 48 + 60
    assert sheet.height < 120


@pytest.mark.parametrize(
    "text", ["a few words that are wrapped", "averyverylongwordthatisbroken", "two\nlines here", ""]
)
def test_wrapped_lines_fit_and_lose_nothing(text: str) -> None:
    font = ImageFont.load_default(12)

    wrapped = wrap(text, font, 60)

    assert max(font.getlength(line) for line in wrapped.split("\n")) <= 60
    assert wrapped.replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")

"""One request to a grid of them: pure, so that every face makes the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sfumato.errors import RequestError
from sfumato.grid.axes import Axis
from sfumato.prompt.dynamic import split_bars
from sfumato.request import Txt2ImgRequest

#: The most pictures that a grid may have.
MAX_CELLS = 1000
#: The most parts of a matrix that come and go: 2 to the power of them is the number of pictures.
MAX_PARTS = 9


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a grid: its place on the three axes, from 0, and how it is drawn. ``model`` None is the face's."""

    x: int
    y: int
    z: int
    request: Txt2ImgRequest
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Three axes; their cells are in the order of reading: x fastest, z slowest."""

    x: Axis
    y: Axis
    z: Axis

    @property
    def places(self) -> tuple[tuple[int, int, int], ...]:
        """Each cell's place on the axes."""
        columns, rows, levels = (range(len(axis.values)) for axis in (self.x, self.y, self.z))
        return tuple((x, y, z) for z in levels for y in rows for x in columns)


@dataclass(frozen=True, kw_only=True)
class Grid(Layout):
    """A layout with what is drawn in its cells."""

    cells: tuple[Cell, ...]

    @property
    def by_model(self) -> tuple[int, ...]:
        """The cells' numbers in an order in which each model is loaded once."""
        first: dict[str | None, int] = {}
        for cell in self.cells:
            first.setdefault(cell.model, len(first))
        return tuple(sorted(range(len(self.cells)), key=lambda k: first[self.cells[k].model]))


def expand(
    request: Txt2ImgRequest, x: Axis, y: Axis | None = None, z: Axis | None = None, model: str | None = None
) -> Grid:
    """Every combination of the axes' values. With a seed in the request all cells have it; without, each has its own.

    >>> from sfumato.grid.axes import parse_axis
    >>> grid = expand(Txt2ImgRequest(prompt="a cat", seed=7), parse_axis("steps=1,2"), parse_axis("cfg_scale=5,7"))
    >>> [(cell.request.steps, cell.request.cfg_scale) for cell in grid.cells]
    [(1, 5.0), (2, 5.0), (1, 7.0), (2, 7.0)]

    Raises:
        RequestError: an axis does not fit the request, two are of one field, or there are too many cells.
    """
    axes = (x, y or Axis(), z or Axis())
    named = [axis.field for axis in axes if axis.field]
    if len(set(named)) < len(named):
        raise RequestError(f"Two axes are of one field ({', '.join(named)}); give each another.")
    if request.batch_size != 1:
        raise RequestError("A grid has one picture a cell; leave the batch size at 1.")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_CELLS:
        raise RequestError(f"The grid has {count} pictures; at most {MAX_CELLS} are drawn.")
    return Grid(x=axes[0], y=axes[1], z=axes[2], cells=tuple(_cells(request, axes, model)))


def _cells(request: Txt2ImgRequest, axes: Sequence[Axis], model: str | None) -> list[Cell]:
    x, y, z = axes
    cells = []
    for k, at_z in enumerate(z.values):
        for j, at_y in enumerate(y.values):
            for i, at_x in enumerate(x.values):
                # Search and replace goes first: a prompt as a whole may not have the words any more.
                wanted = sorted(((x, at_x), (y, at_y), (z, at_z)), key=lambda pair: pair[0].field != "prompt")
                one, of = request, model
                for axis, value in wanted:
                    one, of = axis.apply(value, one, of)
                cells.append(Cell(x=i, y=j, z=k, request=one, model=of))
    return cells


def matrix(request: Txt2ImgRequest, model: str | None = None) -> Grid:
    """The web UI's prompt matrix: of ``a|b|c``, ``a`` with every choice of ``b`` and ``c``.

    Choices of the first half of the parts lie across, those of the second half down.

    >>> [cell.request.prompt for cell in matrix(Txt2ImgRequest(prompt="a city|painted|at night")).cells]
    ['a city', 'a city, painted', 'a city, at night', 'a city, painted, at night']

    Raises:
        RequestError: the prompt has no part that comes and goes, or too many.
    """
    first, *parts = split_bars(request.prompt)
    parts = [part.strip().strip(",") for part in parts]
    if not 1 <= len(parts) <= MAX_PARTS:
        raise RequestError(
            f"The prompt has {len(parts)} parts after a bar; a matrix has 1 to {MAX_PARTS}, as a city|painted|at night."
        )
    across = math.ceil(len(parts) / 2)
    choices = [[part for k, part in enumerate(parts) if number >> k & 1] for number in range(2 ** len(parts))]
    prompts = [", ".join([first, *chosen]) for chosen in choices]
    wide = 2**across
    x = Axis("prompt", tuple(_named(choice) for choice in choices[:wide]))
    y = Axis("prompt", tuple(_named(choice) for choice in choices[::wide])) if len(parts) > across else Axis()
    cells = tuple(
        Cell(x=k % wide, y=k // wide, z=0, request=replace(request, prompt=prompt), model=model)
        for k, prompt in enumerate(prompts)
    )
    return Grid(x=x, y=y, z=Axis(), cells=cells)


def _named(chosen: Sequence[str]) -> str:
    return "\n".join(chosen) or "–"

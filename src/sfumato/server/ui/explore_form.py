"""What a person fills in to compare: the drawing's fields, and up to three of them that change."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sfumato.errors import RequestError
from sfumato.grid import axes, values
from sfumato.grid.axes import Axis
from sfumato.grid.expand import Grid, expand, matrix
from sfumato.server.ui.form import Form, bindable_dataclass
from sfumato.server.ui.words import say

AXES = ("x", "y", "z")
#: How the values of each kind are written, as keys of the catalogue.
HINTS: Mapping[Callable[[str], Sequence[Any]], str] = {
    values.whole_numbers: "hint_whole",
    values.numbers: "hint_numbers",
    values.words: "hint_words",
    values.switches: "hint_switches",
    values.sizes: "hint_sizes",
}
#: The seed of a grid that names none, below this.
SEEDS = 2**32


@bindable_dataclass(kw_only=True)
class ExploreForm(Form):
    """The fields of the page that explores. An axis whose field is "" is none; ``matrix`` goes by the prompt's bars."""

    matrix: bool = False
    x_field: str = "steps"
    x_values: str = "10-30 (+10)"
    y_field: str = ""
    y_values: str = ""
    z_field: str = ""
    z_values: str = ""

    def hint(self, axis: str) -> str:
        """How the values of an axis are written."""
        field = getattr(self, f"{axis}_field")
        if not field:
            return ""
        return say("hint_replace" if field == axes.SEARCH_REPLACE else HINTS[axes.readers()[field]])

    def axis(self, axis: str) -> Axis:
        """One of the three. Raises RequestError: its values can't be read."""
        field, given = getattr(self, f"{axis}_field"), getattr(self, f"{axis}_values")
        return axes.make_axis(field, given or "") if field else Axis()

    def grid(self) -> Grid:
        """Every picture, all with one seed; a seed that is not given is drawn here.

        >>> ExploreForm(prompt="a|b", matrix=True).grid().cells[1].request.prompt
        'a, b'

        Raises:
            RequestError: there is no axis, one can't be read, or they do not fit the request.
        """
        request = replace(self.request(), batch_size=1)
        if request.seed is None:
            request = replace(request, seed=secrets.randbelow(SEEDS))
        if self.matrix:
            return matrix(request, self.model)
        x, y, z = (self.axis(axis) for axis in AXES)
        if not any(axis.field for axis in (x, y, z)):
            raise RequestError(say("axes_none"))
        return expand(request, x, y, z, self.model)

    def pinned(self, seed: int) -> Mapping[str, Any]:
        """What makes the same grid again: this form's state with the seed that was drawn."""
        return {**asdict(self), "seed": seed}

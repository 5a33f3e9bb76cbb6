"""What a person fills in to have a picture made larger."""

from __future__ import annotations

from sfumato.errors import RequestError
from sfumato.request import MAX_SCALE, MAX_SIDE, Hires, UpscaleRequest
from sfumato.server.ui.form import Kept, bindable_dataclass, number
from sfumato.server.ui.words import say


@bindable_dataclass(kw_only=True)
class UpscaleForm(Kept):
    """The fields of the page that makes larger: ``scale``, or sides in pixels, of which one keeps the shape."""

    upscaler: str = UpscaleRequest.upscaler
    scale: float | None = 2.0
    width: int | None = None
    height: int | None = None

    def measure(self, width: int, height: int) -> tuple[tuple[int, int], None]:
        """The wished size of a picture of that one; nothing is cut off.

        >>> UpscaleForm().measure(64, 48), UpscaleForm(width=96).measure(64, 48)
        (((128, 96), None), ((96, 72), None))

        Raises:
            RequestError: there is no number, or one is out of range.
        """
        sides = [None if side is None else int(side) for side in (self.width, self.height)]
        given = [side for side in sides if side is not None]
        if any(side < 1 for side in given):
            raise RequestError(f"A side is {min(given)} pixels; give 1 or more, or leave it empty.")
        scale = number("scale", 1 if given else self.scale)
        if not 0 < scale <= MAX_SCALE:
            raise RequestError(f"{say('scale')} is {scale:g}; give more than 0, up to {MAX_SCALE}.")
        wide, high = Hires(width=sides[0], height=sides[1], scale=scale).size_of(width, height)
        wide, high = max(1, wide), max(1, high)
        if max(wide, high) > MAX_SIDE:
            raise RequestError(f"It would be {wide}x{high} pixels; at most {MAX_SIDE} a side are made.")
        return (wide, high), None

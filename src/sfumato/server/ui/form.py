"""What a person fills in on the page: plain values that become a request, and can be had back from a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sfumato.errors import RequestError
from sfumato.request import ImageInfo, Txt2ImgRequest
from sfumato.server.ui.words import say

if TYPE_CHECKING:
    from dataclasses import dataclass as bindable_dataclass  # a type checker sees no fields in NiceGUI's

    from typing_extensions import Self
else:
    from nicegui.binding import bindable_dataclass

#: Width and height of the three shapes, as multiples of the model's own side.
SHAPES: Mapping[str, tuple[float, float]] = {
    "square": (1, 1),
    "portrait": (0.75, 1),
    "landscape": (1, 0.75),
}
STEP = 64


def number(name: str, value: float | None) -> float:
    """A number of the page. Raises RequestError: it is missing."""
    if value is None:
        raise RequestError(say("empty", name=say(name)))
    return float(value)


def whole(name: str, value: float | None) -> int:
    """A whole number of the page, which gives 5.0. Raises RequestError: it is missing."""
    return int(number(name, value))


@dataclass(kw_only=True)
class Kept:
    """A form: plain values, which are kept between visits."""

    def state(self) -> dict[str, Any]:
        """Plain data, to be kept between visits."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any] | None) -> Self:
        """The form of an earlier visit; fields that it does not know are left at their defaults.

        >>> Form.of({"prompt": "a cat", "gone": 1}).prompt
        'a cat'
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in (state or {}).items() if name in known})


@bindable_dataclass(kw_only=True)
class Form(Kept):
    """The fields that all pages have which draw. ``None`` means "not given", as in the request."""

    prompt: str = ""
    negative_prompt: str = ""
    model: str | None = None
    width: int = 512
    height: int = 512
    steps: int = 20
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: float | None = None
    seed: int | None = None
    batch_size: int = 1

    def request(self) -> Txt2ImgRequest:
        """The request that these fields ask for. Raises RequestError: a number is missing.

        >>> Form(prompt="a cat", steps=7).request().steps
        7
        """
        given = {each.name: getattr(self, each.name) for each in fields(Form) if each.name != "model"}
        given |= {name: whole(name, given[name]) for name in ("width", "height", "steps", "batch_size")}
        given["seed"] = None if self.seed is None else int(self.seed)
        return Txt2ImgRequest(**given)

    def take(self, made: ImageInfo | Txt2ImgRequest) -> None:
        """Fill in how a picture was made, so that the same one comes again; what is not known stays."""
        self.batch_size = 1
        for field in fields(self):
            if field.name not in ("batch_size", "model") and (value := getattr(made, field.name, None)) is not None:
                setattr(self, field.name, value)

    def take_nearest(self, nearest: Mapping[str, Any]) -> None:
        """Take the nearest settings that there is memory for; see :class:`sfumato.server.forecast.Forecast`."""
        self.width, self.height = nearest["width"], nearest["height"]
        self.batch_size = nearest["batch_size"]

    def swap(self) -> None:
        """Width for height."""
        self.width, self.height = self.height, self.width

    def reshape(self, shape: str, side: int) -> None:
        """Take one of :data:`SHAPES`; ``side`` is the longer one in pixels.

        >>> form = Form(); form.reshape("portrait", 512); form.width, form.height
        (384, 512)
        """
        wide, high = SHAPES[shape]
        self.width, self.height = (max(STEP, round(side * part / STEP) * STEP) for part in (wide, high))

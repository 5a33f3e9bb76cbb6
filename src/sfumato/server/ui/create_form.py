"""What a person fills in to draw from words: the drawing, a variation of its noise, a second model, a second pass."""

from __future__ import annotations

from dataclasses import replace

from sfumato.gallery import infotext
from sfumato.request import Hires, ImageInfo, Txt2ImgRequest
from sfumato.server.ui.form import Form, bindable_dataclass, number

#: How far a picture is varied where nothing else is said.
A_LITTLE = 0.2


@bindable_dataclass(kw_only=True)
class CreateForm(Form):
    """The fields of the page that creates. Those of a second pass count if ``hires`` is on."""

    subseed: int | None = None
    subseed_strength: float = 0.0
    refiner: str | None = None
    refiner_switch_at: float = Txt2ImgRequest.refiner_switch_at
    hires: bool = False
    hires_scale: float = 2.0
    hires_width: int | None = None
    hires_height: int | None = None
    hires_upscaler: str = Hires.upscaler
    hires_steps: int = 0
    hires_strength: float = Hires.denoising_strength
    hires_sampler: str | None = None
    hires_scheduler: str | None = None
    hires_cfg_scale: float | None = None

    def request(self) -> Txt2ImgRequest:
        """See :meth:`Form.request`.

        >>> CreateForm(prompt="a cat", hires=True, hires_scale=1.5).request().hires.scale
        1.5
        """
        return replace(
            super().request(),
            subseed=_whole(self.subseed),
            subseed_strength=number("subseed_strength", self.subseed_strength),
            refiner=self.refiner,
            refiner_switch_at=number("refiner_switch_at", self.refiner_switch_at),
            hires=self._second_pass() if self.hires else None,
        )

    def _second_pass(self) -> Hires:
        return Hires(
            scale=number("hires_scale", self.hires_scale),
            width=_whole(self.hires_width),
            height=_whole(self.hires_height),
            upscaler=self.hires_upscaler,
            steps=_whole(self.hires_steps) or 0,
            denoising_strength=number("hires_strength", self.hires_strength),
            sampler=self.hires_sampler,
            scheduler=self.hires_scheduler,
            cfg_scale=self.hires_cfg_scale,
        )

    def take(self, made: ImageInfo | Txt2ImgRequest) -> None:
        """See :meth:`Form.take`; a picture without a second pass, model or variation turns them off.

        Raises:
            RequestError: what is said of the second pass can't be read.
        """
        request = infotext.to_request(infotext.parse(infotext.write(made))) if isinstance(made, ImageInfo) else made
        hires = request.hires
        super().take(replace(request, hires=None))
        self.subseed, self.refiner, self.hires = request.subseed, request.refiner, hires is not None
        if hires is None:
            return
        self.hires_scale, self.hires_width, self.hires_height = hires.scale, hires.width, hires.height
        self.hires_upscaler, self.hires_steps = hires.upscaler, hires.steps
        self.hires_strength = hires.denoising_strength
        self.hires_sampler, self.hires_scheduler, self.hires_cfg_scale = hires.sampler, hires.scheduler, hires.cfg_scale

    def vary(self) -> None:
        """The same seed, and a new one to vary it by."""
        self.subseed = None
        self.subseed_strength = self.subseed_strength or A_LITTLE

    def first_size(self, width: int, height: int, multiple: int) -> tuple[int, int]:
        """The first pass's size for a finished picture of at most ``width`` x ``height`` pixels, in whole multiples.

        >>> CreateForm(hires=True, hires_scale=2).first_size(512, 384, 64), CreateForm().first_size(512, 384, 64)
        ((256, 192), (512, 384))
        """
        if not self.hires:
            return width, height
        own = Hires(scale=self.hires_scale or 1.0, width=self.hires_width, height=self.hires_height)
        scale = max(1.0, own.size_of(self.width, self.height)[0] / self.width)
        wide, high = (max(multiple, int(side / scale) // multiple * multiple) for side in (width, height))
        return wide, high


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)

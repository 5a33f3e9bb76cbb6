"""What a person fills in to change a picture: how it is drawn, how far from the picture, and how the mask is meant."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from sfumato.request import InitImage, Mask, Txt2ImgRequest
from sfumato.server.ui.form import Form, number, whole
from sfumato.server.ui.widen import SIDES, Margins

#: Sizes that a picture suggests are multiples of this many pixels, as every family can draw.
MULTIPLE = 64


@dataclass(kw_only=True)
class EditForm(Form):
    """The fields of the page that edits. ``None`` means "not given"."""

    denoising_strength: float = 0.6
    resize_mode: str = "crop"
    mask_blur: float = 4.0
    mask_fill: str = "original"
    only_masked: bool = False
    padding: int = 32
    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @property
    def margins(self) -> Margins:
        """What is added around the picture; nothing where a number is missing."""
        return Margins(**{side: int(getattr(self, side) or 0) for side in SIDES})

    def edit(self, picture: Image.Image, mask: Image.Image | None) -> Txt2ImgRequest:
        """The request that draws the picture anew, or only where the mask is white.

        Raises:
            RequestError: a number is missing.
        """
        part = None
        if mask is not None:
            part = Mask(
                picture=mask,
                blur=number("mask_blur", self.mask_blur),
                fill=self.mask_fill,
                only_masked=self.only_masked,
                padding=whole("padding", self.padding),
            )
        init = InitImage(
            picture=picture,
            denoising_strength=number("denoising_strength", self.denoising_strength),
            resize_mode=self.resize_mode,
            mask=part,
        )
        return replace(self.request(), init=init)

    def fit(self, size: tuple[int, int], most: int) -> None:
        """Take the size of a picture, with the longer side at most ``most`` pixels.

        >>> form = EditForm(); form.fit((3000, 2000), 1024); form.width, form.height
        (1024, 704)
        """
        scale = min(1.0, most / max(size))
        self.width, self.height = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in size)

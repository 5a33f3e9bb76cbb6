"""What a person fills in to change a picture: how it is drawn, how far from the picture, and how the mask is meant."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from sfumato.imaging.outpaint import extended
from sfumato.request import InitImage, Mask, Txt2ImgRequest
from sfumato.server.ui.form import Form, bindable_dataclass, number, whole

#: The fields that say how far a picture goes on, in the order of ``InitImage.extend``.
SIDES = ("left", "top", "right", "bottom")
#: Sizes that a picture suggests are multiples of this many pixels, as every family can draw.
MULTIPLE = 64


@bindable_dataclass(kw_only=True)
class EditForm(Form):
    """The fields of the page that edits. ``None`` means "not given"."""

    denoising_strength: float = 0.6
    resize_mode: str = "crop"
    mask_blur: float = 4.0
    mask_fill: str = "original"
    only_masked: bool = False
    padding: int = 32
    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels that are added at the sides; none where a number is missing."""
        left, top, right, bottom = (int(getattr(self, side) or 0) for side in SIDES)
        return left, top, right, bottom

    def edit(self, picture: Image.Image, mask: Image.Image | None) -> Txt2ImgRequest:
        """The request that draws the picture anew, or only where the mask is white, and what is beyond its edges.

        Raises:
            RequestError: a number is missing, or the picture becomes too large.
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
            extend=self.margins if any(self.margins) else None,
        )
        return extended(replace(self.request(), init=init))

    def sketch(self) -> Txt2ImgRequest:
        """The request with a picture of one pixel: for what it takes, which its size and strength say.

        Raises:
            RequestError: a number is missing.

        >>> EditForm(width=64, denoising_strength=0.5).sketch().init.denoising_strength
        0.5
        """
        strength = number("denoising_strength", self.denoising_strength)
        init = InitImage(picture=Image.new("L", (1, 1)), denoising_strength=strength)
        return replace(self.request(), init=init)

    def begin(self, size: tuple[int, int], most: int) -> None:
        """Take another picture, of which nothing is to be extended yet."""
        for side in SIDES:
            setattr(self, side, 0)
        self.fit(size, most)

    def fit(self, size: tuple[int, int], most: int) -> None:
        """Take the size of a picture and its margins, with the longer side at most ``most`` pixels.

        >>> form = EditForm(); form.fit((3000, 2000), 1024); form.width, form.height
        (1024, 704)
        """
        left, top, right, bottom = self.margins
        size = size[0] + left + right, size[1] + top + bottom
        scale = min(1.0, most / max(size))
        self.width, self.height = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in size)

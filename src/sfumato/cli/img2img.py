"""``img2img``: pictures that start from another picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.cli import checks, txt2img
from sfumato.cli.flags import InitFlags, MaskFlags, Txt2ImgFlags
from sfumato.errors import RequestError
from sfumato.request import MASK_FILLS, RESIZE_MODES, InitImage, Mask, Txt2ImgRequest

if TYPE_CHECKING:
    from PIL.Image import Image


def run(
    flags: Txt2ImgFlags,
    start: InitFlags,
    open_studio: txt2img.OpenStudio | None = None,
    part: MaskFlags | None = None,
) -> None:
    """As :func:`sfumato.cli.txt2img.run`, from the picture of ``start``; with ``part`` only where its mask is white."""
    # Written so that NaN fails too.
    for flag, value, most in (("--strength", start.strength, 1), ("--image_cfg_scale", start.image_cfg_scale, 100)):
        if not 0 <= value <= most:
            raise RequestError(f"{flag} {value} is out of range; it must be 0 to {most}.")
    checks.check_name("--resize_mode", start.resize_mode, RESIZE_MODES)
    picture = read_picture("--init", start.path)
    mask = None if part is None else _read_mask(part)
    init = InitImage(
        picture=picture,
        denoising_strength=start.strength,
        resize_mode=start.resize_mode,
        mask=mask,
        image_cfg_scale=start.image_cfg_scale,
        extend=None if part is None or part.extend is None else _read_extend(part.extend),
    )
    if init.extend is not None:
        from sfumato.imaging.outpaint import extended

        init = extended(Txt2ImgRequest(prompt="", init=init)).init
    txt2img.run(flags, open_studio, init)


def _read_extend(text: str) -> tuple[int, int, int, int]:
    sides = text.split(",")
    if len(sides) != 4 or not all(side.strip().isascii() and side.strip().isdigit() for side in sides):
        raise RequestError(f"--extend {text!r} is not LEFT,TOP,RIGHT,BOTTOM in pixels, as 64,0,64,0.")
    left, top, right, bottom = (int(side) for side in sides)
    return left, top, right, bottom


def _read_mask(part: MaskFlags) -> Mask | None:
    if part.mask is None:
        if part.extend is None:
            raise RequestError("--mask FILE, a picture that is white where to draw, or --extend is needed.")
        return None
    checks.check_name("--fill", part.fill, MASK_FILLS)
    mask = Mask(
        picture=read_picture("--mask", part.mask),
        blur=part.mask_blur,
        invert=part.invert,
        fill=part.fill,
        only_masked=part.only_masked,
        padding=part.padding,
    )
    from sfumato.imaging.masks import check

    check(mask)
    return mask


def read_picture(flag: str, path: Path) -> Image:
    """The picture at ``path``, turned the way that its camera held it.

    Raises:
        RequestError: there is none, it is damaged, or it is too large.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > checks.MAX_PIXELS:
                raise RequestError(f"{flag} {path}: {width}x{height} pixels are too many; shrink it first.")
            return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise RequestError(f"{flag} {path}: there is no such file.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"{flag} {path}: can't be read as a picture ({error}).") from error

"""Pictures that come in: decoded within limits and made anew, so nothing of the file but its pixels goes on."""

from __future__ import annotations

import base64
import binascii
import io
import struct

from PIL import Image, ImageOps

from sfumato.errors import RequestError

FORMATS = ("PNG", "JPEG", "WEBP")


def from_base64(text: str, most: int) -> Image.Image:
    """A picture of raw base64 or of a ``data:image/...;base64,`` address. Raises RequestError: as `from_bytes`."""
    return from_bytes(decode(text), most)


def decode(text: str) -> bytes:
    """The bytes of base64. Raises RequestError if it is none; addresses are never fetched."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif text[:8].lower().startswith(("http:", "https:", "file:", "ftp:")):
        raise RequestError("Pictures are not fetched from addresses; send the picture itself as base64.")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("Invalid encoded image: it is not base64.") from None


def from_bytes(data: bytes, most: int) -> Image.Image:
    """A PNG, JPEG or WebP as RGB, RGBA or L, upright, without metadata.

    Raises:
        RequestError: it is none of these, is damaged, or has more than ``most`` pixels; that is known before any pixel
            is unpacked.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > most:
                raise RequestError(f"The picture is {image.width}x{image.height}; at most {most} pixels are taken.")
            image.load()
            upright = ImageOps.exif_transpose(image)
            mode = upright.mode if upright.mode in ("RGB", "RGBA", "L") else _plain_mode(upright)
            plain = upright.convert(mode)
    except RequestError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise RequestError(f"Invalid encoded image: {error}") from error
    fresh = Image.new(plain.mode, plain.size)
    fresh.paste(plain)
    return fresh


def _plain_mode(image: Image.Image) -> str:
    return "RGBA" if "transparency" in image.info or image.mode in ("LA", "PA") else "RGB"


def to_base64(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")

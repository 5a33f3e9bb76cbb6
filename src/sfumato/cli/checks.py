"""Checks of a run that need no model: done before torch is imported, so that a mistake costs no waiting."""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.cli.prompts import SEED_LIMIT
from sfumato.errors import RequestError, nearest
from sfumato.request import MAX_PIXELS, MAX_SIDE, MAX_STEPS, Txt2ImgRequest

#: Beyond this no network of today gives a picture, and few machines have the memory.
MAX_BATCH = 64
MAX_CFG_SCALE = 100
MAX_CLIP_SKIP = 12
MAX_ETA = 10
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
PRECISIONS = ("autocast", "full", "half", "bf16", "int8")


def check_request(request: Txt2ImgRequest, n_iter: int) -> None:
    """Raises RequestError for the first number that can't be carried out. ``None`` is left to settings and model."""
    check_range("--steps", request.steps, 1, MAX_STEPS)
    check_range("--width", request.width, 1, MAX_SIDE)
    check_range("--height", request.height, 1, MAX_SIDE)
    check_range("--batch_size", request.batch_size, 1, MAX_BATCH)
    check_range("--n_iter", n_iter, 1, 1_000_000)
    check_range("--clip_skip", request.clip_skip, 1, MAX_CLIP_SKIP)
    check_range("--seed", request.seed, 0, SEED_LIMIT - n_iter * request.batch_size)
    check_real("--cfg_scale", request.cfg_scale, MAX_CFG_SCALE)
    check_real("--eta", request.eta, MAX_ETA)
    if request.width is not None and request.height is not None and request.width * request.height > MAX_PIXELS:
        raise RequestError(
            f"--width {request.width} --height {request.height} is too large: at most {MAX_PIXELS / 1e6:.1f} million"
            " pixels can be made at once; take a smaller size."
        )


def parse_resolution(text: str, flag: str = "--resolution") -> tuple[int, int]:
    """``512x768`` or ``512`` to (width, height).

    >>> parse_resolution("640x512"), parse_resolution("256")
    ((640, 512), (256, 256))
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise RequestError(f"{flag} {text!r} is not a size; write WIDTHxHEIGHT, as 512x512.")
    sides = [int(part) for part in parts]
    return sides[0], sides[-1]


def check_name(flag: str, name: str | None, known: Iterable[str]) -> None:
    """Raises RequestError when ``name`` is given and not known, with the nearest that is."""
    choices = list(known)
    if name is not None and name not in choices:
        raise RequestError(f"{flag} {name!r} is unknown; {nearest(name, choices) or 'choose ' + ', '.join(choices)}.")


def check_range(flag: str, value: float | None, low: float, high: float) -> None:
    """Raises RequestError for a number that is not from ``low`` to ``high``."""
    # Written so that NaN fails too.
    if value is not None and not low <= value <= high:
        raise RequestError(f"{flag} {value} is out of range; it must be {low} to {high}.")


def check_real(flag: str, value: float | None, high: float, *, above: bool = False) -> None:
    """Raises RequestError for a number that is not from 0 to ``high``; with ``above``, for 0 too."""
    # Written so that NaN fails too.
    if value is not None and not (0 <= value <= high and (value > 0 or not above)):
        raise RequestError(f"{flag} {value} is out of range; it must be {'above 0, up' if above else '0'} to {high}.")

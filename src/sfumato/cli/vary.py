"""The flags of varied noise, edges that fit, guidance that is put back and a refiner, as fields of a request."""

from __future__ import annotations

from typing import Any

from sfumato.cli import checks
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.prompts import SEED_LIMIT
from sfumato.errors import RequestError


def to_fields(flags: Txt2ImgFlags) -> dict[str, Any]:
    """The fields that the flags give.

    Raises:
        RequestError: a number out of range, or a seed to vary by without a strength.
    """
    checks.check_range("--subseed_strength", flags.subseed_strength, 0, 1)
    checks.check_range("--guidance_rescale", flags.guidance_rescale, 0, 1)
    checks.check_range("--refiner_switch_at", flags.refiner_switch_at, 0, 1)
    if flags.refiner is None and flags.refiner_switch_at != Txt2ImgFlags.refiner_switch_at:
        raise RequestError("--refiner_switch_at is about a second model; add --refiner NAME.")
    subseed = None if flags.subseed == -1 else flags.subseed
    checks.check_range("--subseed", subseed, 0, SEED_LIMIT - flags.n_iter * flags.batch_size)
    if flags.subseed is not None and not flags.subseed_strength:
        raise RequestError("--subseed varies nothing without a strength; add --subseed_strength 0.2.")
    width = height = None
    if flags.seed_resize_from is not None:
        width, height = checks.parse_resolution(flags.seed_resize_from)
        for side in (width, height):
            checks.check_range("--seed_resize_from", side, 8, checks.MAX_SIDE)
    return {
        "subseed": subseed,
        "subseed_strength": flags.subseed_strength,
        "seed_resize_from_w": width,
        "seed_resize_from_h": height,
        "tiling": flags.tiling,
        "guidance_rescale": flags.guidance_rescale,
        "refiner": flags.refiner,
        "refiner_switch_at": flags.refiner_switch_at,
    }

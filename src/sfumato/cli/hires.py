"""The flags of a second pass as the engine's value."""

from __future__ import annotations

from dataclasses import fields

from sfumato.cli import checks
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.prompts import check_text
from sfumato.errors import RequestError
from sfumato.request import MAX_SIDE, MAX_STEPS, Hires

_PREFIX = "hires_"


def to_hires(flags: Txt2ImgFlags) -> Hires | None:
    """The second pass that the flags ask for; None without ``--hires_scale`` and ``--hires_resolution``.

    Raises:
        RequestError: a value that is out of range or unknown, or flags of a pass that there is not.
    """
    if flags.hires_scale is None and flags.hires_resolution is None:
        _check_no_pass(flags)
        return None
    if flags.hires_scale is not None and flags.hires_resolution is not None:
        raise RequestError("--hires_scale and --hires_resolution give two sizes; give one.")
    _check(flags)
    width = height = None
    if flags.hires_resolution is not None:
        width, height = checks.parse_resolution(flags.hires_resolution, "--hires_resolution")
    return Hires(
        scale=Hires.scale if flags.hires_scale is None else flags.hires_scale,
        width=width,
        height=height,
        upscaler=flags.hires_upscaler,
        steps=flags.hires_steps,
        denoising_strength=flags.hires_strength,
        sampler=flags.hires_sampler,
        scheduler=flags.hires_scheduler,
        cfg_scale=flags.hires_cfg_scale,
        prompt=flags.hires_prompt,
        negative_prompt=flags.hires_negative_prompt,
    )


def _check_no_pass(flags: Txt2ImgFlags) -> None:
    for field in fields(flags):
        if field.name.startswith(_PREFIX) and getattr(flags, field.name) != field.default:
            raise RequestError(f"--{field.name} is about a second pass; add --hires_scale or --hires_resolution.")


def _check(flags: Txt2ImgFlags) -> None:
    from sfumato.sampling.names import resolve

    checks.check_real("--hires_scale", flags.hires_scale, 16, above=True)
    checks.check_real("--hires_strength", flags.hires_strength, 1, above=True)
    checks.check_real("--hires_cfg_scale", flags.hires_cfg_scale, checks.MAX_CFG_SCALE)
    checks.check_range("--hires_steps", flags.hires_steps, 0, MAX_STEPS)
    if flags.hires_resolution is not None:
        for side in checks.parse_resolution(flags.hires_resolution, "--hires_resolution"):
            checks.check_range("--hires_resolution", side, 1, MAX_SIDE)
    resolve(flags.hires_sampler or flags.sampler, flags.hires_scheduler or flags.scheduler)
    check_text(flags.hires_prompt or "", "--hires_prompt")
    check_text(flags.hires_negative_prompt or "", "--hires_negative_prompt")

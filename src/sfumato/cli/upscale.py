"""``upscale``: files made larger, by a filter or by a network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer

from sfumato.cli import checks
from sfumato.cli.flags import UpscaleFlags
from sfumato.cli.img2img import read_picture
from sfumato.errors import RequestError
from sfumato.gallery import files
from sfumato.request import MAX_SCALE, MAX_SIDE


def run(flags: UpscaleFlags) -> None:
    """Saves each picture larger as a PNG in the output folder, with what its metadata said, and prints its path.

    Raises:
        RequestError: no such file or upscaler, or the result would be too large; before anything is written where that
            can be known. CheckpointError: the network's file can't be used.
    """
    checks.check_real("--scale", flags.scale, MAX_SCALE, above=True)
    from sfumato import config
    from sfumato.engine.upscale import Upscalers, describe
    from sfumato.runtime.device import quick

    given = {} if flags.outdir is None else {"output.dir": str(flags.outdir)}
    settings = config.load(flags.config, os.environ, given).settings
    known = [(path, _size(path, flags.scale), files.read(path)) for path in flags.files]
    enlarge = Upscalers([Path(settings.models_dir)], quick(settings.device).kind).find(flags.upscaler)
    if enlarge is None:
        raise RequestError(f"--upscaler {flags.upscaler!r} is for second passes alone; take Lanczos or a network.")
    for path, size, text in known:
        large = enlarge(read_picture("FILE", path), size)
        data = files.encode(large, "png", describe(text or "", flags.scale, flags.upscaler))
        saved = files.place_at(data, Path(settings.output.dir) / f"{path.stem}-{flags.scale:g}x", "png")
        row = {"path": str(saved), "width": large.width, "height": large.height, "upscaler": flags.upscaler}
        typer.echo(json.dumps(row) if flags.json else str(saved))


def _size(path: Path, scale: float) -> tuple[int, int]:
    picture = read_picture("FILE", path)
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if max(width, height) > MAX_SIDE or width * height > 4 * checks.MAX_PIXELS:
        raise RequestError(f"{path} would be {width}x{height} pixels; at most {MAX_SIDE} a side are made.")
    return width, height

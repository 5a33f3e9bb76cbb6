"""``xyz``: one request over the values of its fields, on a labelled sheet."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sfumato.cli import checks, txt2img
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.progress import step_bar
from sfumato.cli.prompts import RANDOM_SEED_LIMIT, read_prompts
from sfumato.errors import RequestError
from sfumato.grid.axes import parse_axis
from sfumato.grid.expand import Grid, expand, matrix
from sfumato.grid.sheet import describe, draw_sheet
from sfumato.request import ImageInfo, Txt2ImgRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from sfumato.config import Settings

OpenStudio = Callable[["Settings", str | None], txt2img.Studio]


def run(flags: Txt2ImgFlags, axes: list[str | None], parts: bool, open_studio: OpenStudio | None = None) -> None:
    """Draws and saves every cell's picture, those of one model after each other, and then the sheet.

    Args:
        axes: those of x, y and z, as ``field=values``. parts: the prompt's parts come and go instead.

    Raises:
        SfumatoError: what can't be done, before anything is drawn where that can be known.
        typer.Exit: code 130 after Ctrl-C; finished pictures stay, and are put on the sheet.
    """
    txt2img.check_flags(flags)
    if flags.n_iter != 1 or flags.grid:
        raise RequestError("A plot has one picture a cell and a sheet of its own; leave --n_iter and --grid out.")
    prompts = read_prompts(flags.prompt, flags.prompts_file)
    if len(prompts) != 1:
        raise RequestError(f"A plot has one prompt, and there are {len(prompts)}; try --x 'prompt=\"one, red\",two'.")
    if prompts[0].n_iter not in (None, 1):
        raise RequestError("A plot has one picture a cell; leave --n_iter out of the prompt's line.")
    settings = txt2img.load_settings(flags)
    template = prompts[0].applied(txt2img.to_template(flags, settings))
    if template.seed is None:
        template = dataclasses.replace(template, seed=secrets.randbelow(RANDOM_SEED_LIMIT))
    txt2img.check_run(template, flags, settings, prompts)
    grid = to_grid(template, axes, parts)
    check_cells(grid, settings)
    _draw(grid, settings, txt2img.Saver(settings, flags), open_studio or _open_studio)


def to_grid(request: Txt2ImgRequest, axes: list[str | None], parts: bool) -> Grid:
    """The grid that the flags ask for.

    Raises:
        RequestError: no axis, axes beside a matrix, or one that does not fit.
    """
    given = [None if text is None else parse_axis(text) for text in axes]
    if parts:
        if any(given):
            raise RequestError("--matrix makes its own axes; leave --x, --y and --z out.")
        return matrix(request)
    x, y, z = given
    if x is None:
        raise RequestError("A plot needs an axis: --x steps=10,20,30, or --matrix.")
    return expand(request, x, y, z)


def check_cells(grid: Grid, settings: Settings) -> None:
    """Checks what every cell asks for, so that a wrong value costs no waiting."""
    from sfumato.families import models_folder

    for cell in grid.cells:
        checks.check_request(cell.request, 1)
    for model in dict.fromkeys(cell.model for cell in grid.cells if cell.model is not None):
        models_folder.find(model, [Path(settings.models_dir)])


def _draw(grid: Grid, settings: Settings, saver: txt2img.Saver, open_studio: OpenStudio) -> None:
    pictures: dict[int, tuple[Image, ImageInfo]] = {}
    studio, model, stopped = None, None, False
    try:
        for count, number in enumerate(grid.by_model, start=1):
            cell = grid.cells[number]
            if studio is None or cell.model != model:
                studio = None  # before the next is loaded, so that two never are
                studio, model = open_studio(settings, cell.model), cell.model
            with step_bar(f"{count}/{len(grid.cells)}") as on_step:
                result = studio.generate(cell.request, on_step=on_step)
            saver.save(result)
            pictures[number] = result.images[0], result.infos[0]
    except KeyboardInterrupt:
        stopped = True
        typer.echo(f"Stopped; {saver.count} finished picture{'s' * (saver.count != 1)} kept.", err=True)
    if pictures:
        first = pictures[min(pictures)][1]
        saver.save_sheet(draw_sheet(grid, {k: image for k, (image, _) in pictures.items()}), describe(grid, first))
    if stopped:
        raise typer.Exit(txt2img.INTERRUPTED)


def _open_studio(settings: Settings, model: str | None) -> txt2img.Studio:
    from sfumato.app import open_studio

    return open_studio(settings, model)

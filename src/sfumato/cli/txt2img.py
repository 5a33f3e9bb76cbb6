"""``txt2img``: from flags to pictures on disk. Everything that can be checked is checked before torch is imported."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from sfumato.cli import checks
from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.forecast import forecast
from sfumato.cli.hires import to_hires
from sfumato.cli.progress import OnStep, step_bar
from sfumato.cli.prompt_lines import Line
from sfumato.cli.prompts import SEED_LIMIT, batches, check_text, read_prompts
from sfumato.cli.vary import to_fields
from sfumato.errors import RequestError
from sfumato.gallery import files, names
from sfumato.request import ImageInfo, InitImage, Result, Txt2ImgRequest, expected_size
from sfumato.runtime.plan import WISHES, Ask

if TYPE_CHECKING:
    from PIL.Image import Image

    from sfumato.config import Settings

INTERRUPTED = 130
#: Flag field to the setting that it goes before.
SETTINGS: Mapping[str, str] = {
    "steps": "model.steps",
    "resolution": "model.resolution",
    "sampler": "model.sampler",
    "scheduler": "model.scheduler",
    "cfg_scale": "model.cfg_scale",
    "model": "model.type",
    "ckpt": "model.type",
    "clip_skip": "model.clip_skip",
    "vae": "model.vae",
    "text_encoder": "model.text_encoder",
    "precision": "model.precision",
    "device": "device",
    "memory": "memory",
    "outdir": "output.dir",
    "format": "output.format",
    "metadata": "output.metadata",
    "threads": "threads",
}


class Studio(Protocol):
    """What a run needs of `sfumato.Studio`."""

    def generate(self, request: Txt2ImgRequest, on_step: OnStep | None = None) -> Result: ...


OpenStudio = Callable[["Settings"], Studio]


def run(flags: Txt2ImgFlags, open_studio: OpenStudio | None = None, init: InitImage | None = None) -> None:
    """Makes and saves every picture that ``flags`` ask for, and prints a path or JSON object for each.

    With ``init`` they are drawn from that picture, and have its size unless the flags give one.

    Raises:
        SfumatoError: what can't be done, before anything is written where that can be known.
        typer.Exit: code 130 after Ctrl-C; finished pictures stay.
    """
    check_flags(flags)
    if init is not None and to_hires(flags) is not None:
        raise RequestError("A second pass (--hires_scale, --hires_resolution) is for txt2img; leave it out.")
    prompts = read_prompts(flags.prompt, flags.prompts_file)
    settings = load_settings(flags)
    template = to_template(flags, settings)
    if init is not None:
        size = {} if flags.resolution is not None else {"width": flags.width, "height": flags.height}
        template = dataclasses.replace(template, init=init, **size)
    check_run(template, flags, settings, prompts)
    if open_studio is None:
        forecast(settings, Ask(*expected_size(template), template.batch_size), template.refiner)
    saver = Saver(settings, flags)
    try:
        studio = (open_studio or _open_studio)(settings)
        for request in batches(prompts, template, flags.n_iter):
            with step_bar(request.prompt[:30] or "picture") as on_step:
                result = studio.generate(request, on_step=on_step)
            saver.save(result)
        saver.save_grid()
    except KeyboardInterrupt:
        typer.echo(f"Stopped; {saver.count} finished picture{'s' * (saver.count != 1)} kept.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def check_flags(flags: Txt2ImgFlags) -> None:
    """Checks of flags alone, and of flags that exclude each other."""
    if flags.model is not None and flags.ckpt is not None:
        raise RequestError("--model and --ckpt name two models; give one.")
    if flags.resolution is not None and (flags.width is not None or flags.height is not None):
        raise RequestError("--resolution and --width or --height give two sizes; give one.")
    if flags.resolution is not None:
        checks.parse_resolution(flags.resolution)
    checks.check_request(_asked(flags), flags.n_iter)
    if flags.ckpt is not None and not flags.ckpt.exists():
        raise RequestError(
            f"--ckpt {flags.ckpt}: there is no such file or folder; `sfumato models` lists what there is."
        )
    check_text(flags.negative_prompt or "", "--negative_prompt")
    checks.check_name("--device", flags.device, checks.DEVICES)
    checks.check_name("--precision", flags.precision, checks.PRECISIONS)
    checks.check_name("--memory", flags.memory, WISHES)
    checks.check_name("--format", flags.format, files.FORMATS)
    if flags.threads is not None and not 1 <= flags.threads <= 1024:
        raise RequestError(f"--threads {flags.threads} is out of range; it must be 1 to 1024.")
    _check_sampler(flags.sampler, flags.scheduler)
    to_fields(flags)
    to_hires(flags)


def _asked(flags: Txt2ImgFlags) -> Txt2ImgRequest:
    """The numbers of the flags alone, so that a wrong one is named as the flag that it came from."""
    request = Txt2ImgRequest(prompt="", width=flags.width, height=flags.height, batch_size=flags.batch_size)
    given = {name: getattr(flags, name) for name in ("steps", "cfg_scale", "clip_skip", "eta")}
    numbers = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(request, seed=None if flags.seed == -1 else flags.seed, **numbers)


def setting_flags(flags: Txt2ImgFlags) -> dict[str, Any]:
    """The settings that flags give, by their dotted keys."""
    given = {key: getattr(flags, name) for name, key in SETTINGS.items() if getattr(flags, name) is not None}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    switches = {"output.metadata": "none"} if flags.no_metadata else {}
    return {**plain, **switches, **({"model.allow_partial": True} if flags.allow_partial else {})}


def load_settings(flags: Txt2ImgFlags) -> Settings:
    """Defaults, config file, environment and flags as one."""
    from sfumato import config

    return config.load(flags.config, os.environ, setting_flags(flags)).settings


def to_template(flags: Txt2ImgFlags, settings: Settings) -> Txt2ImgRequest:
    """The request of every batch, but for prompt and seed."""
    model = settings.model
    width, height = model.size
    return Txt2ImgRequest(
        prompt="",
        negative_prompt=flags.negative_prompt or "",
        width=width if flags.width is None else flags.width,
        height=height if flags.height is None else flags.height,
        steps=model.steps,
        seed=None if flags.seed == -1 else flags.seed,
        sampler=model.sampler,
        scheduler=model.scheduler,
        cfg_scale=model.cfg_scale,
        batch_size=flags.batch_size,
        clip_skip=model.clip_skip,
        eta=flags.eta,
        **to_fields(flags),
        hires=to_hires(flags),
    )


def check_run(template: Txt2ImgRequest, flags: Txt2ImgFlags, settings: Settings, prompts: Sequence[Line] = ()) -> None:
    """Checks of the run as a whole: numbers and names, of every line of prompts too, model and output folder."""
    from sfumato.families import models_folder

    checks.check_request(template, flags.n_iter)
    _check_sampler(template.sampler, template.scheduler)
    for line in prompts:
        check_line(line, template, flags.n_iter)
    folders = [Path(settings.models_dir)]
    for model in filter(None, (settings.model.type, template.refiner)):
        models_folder.find(model, folders)
    for kind in ("vae", "text_encoder"):
        models_folder.find_parts(getattr(settings.model, kind) or "", kind, folders)
    names.check_pattern(settings.output.pattern)
    pixels = (template.width or 0) * (template.height or 0)
    files.check_writable(Path(settings.output.dir), need_bytes=3 * pixels * template.batch_size)


def check_line(line: Line, template: Txt2ImgRequest, n_iter: int) -> None:
    """Checks of what a line of a file changes.

    Raises:
        RequestError: a number is out of range or a name is unknown; the message names the line.
    """
    if not line.changes and line.n_iter is None:
        return
    request = line.applied(template)
    try:
        checks.check_request(request, n_iter if line.n_iter is None else line.n_iter)
        checks.check_range("--subseed", request.subseed, 0, SEED_LIMIT - request.batch_size)
        for name in ("subseed_strength", "guidance_rescale"):
            checks.check_range(f"--{name}", getattr(request, name), 0, 1)
        if (request.seed_resize_from_w is None) is not (request.seed_resize_from_h is None):
            raise RequestError("--seed_resize_from_w and --seed_resize_from_h are one size; give both, or none.")
        for name in ("seed_resize_from_w", "seed_resize_from_h"):
            checks.check_range(f"--{name}", getattr(request, name), 8, checks.MAX_SIDE)
        _check_sampler(request.sampler, request.scheduler)
    except RequestError as error:
        raise RequestError(f"line {line.number} of the prompts: {error}") from error


class Saver:
    """Writes finished pictures and reports each on standard output."""

    def __init__(self, settings: Settings, flags: Txt2ImgFlags) -> None:
        self._output = settings.output
        self._json, self._grid = flags.json, flags.grid
        self._sheet: list[tuple[Image, ImageInfo]] = []
        self.count = 0

    def save(self, result: Result) -> None:
        """Saves the pictures of one batch."""
        for image, info in zip(result.images, result.infos, strict=True):
            path = self._write(image, info, self._output.pattern)
            self.count += 1
            _print_line(json.dumps(describe(path, info)) if self._json else str(path))
            if self._grid:
                self._sheet.append((image, info))

    def save_grid(self) -> None:
        """One sheet with all pictures of the run, if it was asked for and there are at least two."""
        if len(self._sheet) < 2:
            return
        self.save_sheet(files.grid([image for image, _ in self._sheet]), self._sheet[0][1])

    def save_sheet(self, sheet: Image, info: ImageInfo) -> None:
        """Saves one picture of several beside them."""
        folder, _, name = self._output.pattern.rpartition("/")
        path = self._write(sheet, info, f"{folder}/grid-{name}" if folder else f"grid-{name}")
        typer.echo(str(path), err=self._json)

    def _write(self, image: Image, info: ImageInfo, pattern: str) -> Path:
        output = self._output
        return files.save(image, info, Path(output.dir), pattern, output.format, output.metadata)


def describe(path: Path, info: ImageInfo) -> dict[str, Any]:
    """What ``--json`` prints for one picture."""
    keys = ("seed", "width", "height", "steps", "sampler", "scheduler", "cfg_scale", "model", "model_hash", "device")
    return {
        "path": str(path),
        **{key: getattr(info, key) for key in keys},
        "dtype": info.dtype,
        "seconds": {key: round(value, 4) for key, value in dataclasses.asdict(info.seconds).items()},
        "memory": info.memory,
        "peak_memory_bytes": info.peak_memory_bytes,
        "forecast_memory_bytes": info.forecast_memory_bytes,
    }


def _check_sampler(sampler: str | None, scheduler: str | None) -> None:
    from sfumato.sampling.names import resolve

    resolve(sampler, scheduler)


def _open_studio(settings: Settings) -> Studio:
    from sfumato.app import open_studio

    return open_studio(settings)


def _print_line(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()

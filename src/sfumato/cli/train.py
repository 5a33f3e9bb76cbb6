"""``train``: from flags to a fine-tuned model."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sfumato.cli.train_flags import TrainFlags
from sfumato.errors import RequestError
from sfumato.training.settings import DataSettings, MethodSettings, TrainSettings

if TYPE_CHECKING:
    from sfumato.training.loop import TrainStep
    from sfumato.training.run import Run

INTERRUPTED = 130
#: Where a result goes below the models folder, so that it is found by its name.
HOMES = {"lora": "loras", "textual_inversion": "embeddings", "full": ""}


def run(flags: TrainFlags) -> None:
    """Trains, or with ``--plan`` says what would be done.

    Raises:
        SfumatoError: what can't be done.
        typer.Exit: code 130 after Ctrl-C; the state is saved.
    """
    settings = to_settings(flags)
    settings.check()
    if flags.model is not None and flags.ckpt is not None:
        raise RequestError("--model and --ckpt name two models; give one.")
    if not flags.data_dir.is_dir():
        raise RequestError(f"--data_dir {flags.data_dir}: there is no such folder.")
    prepared = _prepare(flags, settings)
    if prepared.accelerator.is_main_process:
        _say(describe(prepared))
    if flags.plan:
        return
    with progress(prepared) as (on_step, on_picture):
        finished = prepared.start(flags.resume, on_step, on_picture)
    if not prepared.accelerator.is_main_process:
        return
    if finished.output is None:
        _say(f"Stopped at step {finished.step} of {finished.steps}; go on with --resume latest.")
        raise typer.Exit(INTERRUPTED)
    _say(_how_to_use(flags, finished.output))
    typer.echo(str(finished.output))


def to_settings(flags: TrainFlags) -> TrainSettings:
    """The flags as the three groups of settings."""

    def take(kind: Any, **more: Any) -> Any:
        names = {f.name for f in dataclasses.fields(kind)} - more.keys()
        return kind(**{n: getattr(flags, n) for n in names if hasattr(flags, n)}, **more)

    prompts = tuple(flags.sample_prompt or ())
    return take(TrainSettings, data=take(DataSettings), what=take(MethodSettings), sample_prompts=prompts)


def _prepare(flags: TrainFlags, settings: TrainSettings) -> Run:
    from sfumato import config

    given: dict[str, Any] = {"device": flags.device, "threads": flags.threads}
    given["model.type"] = flags.model if flags.ckpt is None else str(flags.ckpt)
    loaded = config.load(flags.config, os.environ, {k: v for k, v in given.items() if v is not None}).settings
    from sfumato.families import models_folder
    from sfumato.training.run import Places, Run

    base = models_folder.find(loaded.model.type, [Path(loaded.models_dir)])
    name = flags.name or settings.what.token or re.sub(r"[^\w.-]+", "-", flags.data_dir.resolve().name) or "trained"
    if Path(name).name != name:
        raise RequestError(f"--name {name!r} must be a plain name, without a folder.")
    home = flags.output_dir or Path(loaded.models_dir) / HOMES[settings.what.method]
    single = settings.what.method != "full" or base.is_file()
    run_dir = flags.run_dir or Path(loaded.output.dir) / "training" / name
    places = Places(base=base, run=run_dir, output=home / (f"{name}.safetensors" if single else name))
    return Run(settings, places, loaded.device, loaded.threads)


def describe(run: Run) -> str:
    """What was found and what the run will take, for people."""
    data, settings, forecast = run.dataset, run.settings, run.forecast()
    own = data.own
    repeats, remembered = sum(item.repeats for item in own), len(data.items) - len(own)
    trained = sum(p.numel() for p in run.trainee.trained().values())
    computes = run.mixed.replace("no", "float32")
    sizes: dict[tuple[int, int], int] = {}
    for size in run.batches.sizes:
        sizes[size] = sizes.get(size, 0) + 1
    lines = [
        f"Data      {settings.data.data_dir}: {len(own)} pictures ({data.layout})"
        + (f", each epoch shows {repeats}" if repeats != len(own) else "")
        + (f"; and {remembered} that the base draws, so as not to forget" if remembered else ""),
        "Sizes     " + ", ".join(f"{w}x{h}: {n}" for (w, h), n in sorted(sizes.items(), key=lambda s: -s[1])),
        "Captions  " + "; ".join(f"{caption!r}" for caption in list(dict.fromkeys(i.caption for i in own))[:3]),
        f"Base      {run.places.base} ({run.base_hash}), {computes} on {run.accelerator.device}",
        f"Trains    {settings.what.method}: {trained / 1e6:.2f} M numbers",
        f"Steps     {run.steps} of {run.batches.order.batch} pictures",
        f"Forecast  about {_minutes(forecast.seconds)} and {forecast.memory_bytes / 1e9:.1f} GB, samples not counted",
        f"Result    {run.places.output}",
    ]
    lines += [f"Skipped   {path}: {why}" for path, why in data.skipped]
    return "\n".join([*lines, *(f"Note      {note}" for note in data.notes)])


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(run: Run) -> Iterator[tuple[Callable[[TrainStep], None], Callable[[int], None]]]:
    """A bar on a terminal; elsewhere a line now and then, on standard error."""
    if not sys.stderr.isatty():
        every = max(1, run.steps // 20)

        def line(step: TrainStep) -> None:
            if step.step % every == 0 or step.step == step.steps:
                _say(f"step {step.step}/{step.steps}  epoch {step.epoch}  loss {step.loss:.4f}  rate {step.rate:.3g}")

        yield line, lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    texts = TextColumn("loss {task.fields[loss]}  rate {task.fields[rate]}  {task.fields[speed]}")
    with Progress(*columns, texts, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task("", total=run.steps, loss="-", rate="-", speed="")
        average: list[float] = []

        def on_step(step: TrainStep) -> None:
            average.append(step.loss)
            recent = average[-50:]
            bar.update(
                task, completed=step.step, loss=f"{sum(recent) / len(recent):.4f}", rate=f"{step.rate:.3g}",
                speed=f"{step.seconds:.2f} s/step",
            )  # fmt: skip

        yield on_step, lambda count: bar.update(task, speed=f"{count} pictures to remember")


def _how_to_use(flags: TrainFlags, output: Path) -> str:
    if flags.method == "lora":
        return f'Done. Use it in a prompt: "… <lora:{output.stem}:1>"'
    if flags.method == "full":
        return f"Done. Use it with --model {output.stem if output.suffix else output.name}"
    return f"Done. Use it in a prompt by its name, {output.stem}"


def _say(text: str) -> None:
    typer.echo(text, err=True)

"""``train``: from flags to a fine-tuned model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
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
        facts = plan(prepared)
        _say(describe(facts))
        if flags.plan and flags.json:
            typer.echo(json.dumps(facts))
    if not flags.plan:
        _train(flags, prepared)


def _train(flags: TrainFlags, prepared: Run) -> None:
    from sfumato.training import status
    from sfumato.training.run import find_state
    from sfumato.training.state import States

    main, places = prepared.accelerator.is_main_process, prepared.places
    find_state(States(places.run), flags.resume)  # another run's folder is left as it is
    recorded = status.recorded(places.run, prepared.steps) if main else contextlib.nullcontext(lambda *told: None)
    with recorded as tell, progress(prepared) as (on_step, on_picture):
        finished = prepared.start(flags.resume, on_step, on_picture)
        tell("stopped" if finished.output is None else "done", str(finished.output or ""))
    if not main:
        return
    if finished.output is None:
        _say(f"Stopped at step {finished.step} of {finished.steps}; go on with --resume latest.")
        raise typer.Exit(INTERRUPTED)
    _say(_how_to_use(flags, finished.output))
    typer.echo(json.dumps(dataclasses.asdict(finished), default=str) if flags.json else str(finished.output))


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


def plan(run: Run) -> dict[str, Any]:
    """What was found and what the run will take: bytes, seconds (samples not counted), sizes in pixels."""
    data, settings, forecast = run.dataset, run.settings, run.forecast()
    own = data.own
    sizes: dict[tuple[int, int], int] = {}
    for size in run.batches.sizes:
        sizes[size] = sizes.get(size, 0) + 1
    return {
        "data_dir": str(settings.data.data_dir),
        "layout": data.layout,
        "pictures": len(own),
        "shown": sum(item.repeats for item in own),
        "remembered": len(data.items) - len(own),
        "sizes": [{"width": w, "height": h, "pictures": n} for (w, h), n in sorted(sizes.items(), key=lambda s: -s[1])],
        "captions": list(dict.fromkeys(item.caption for item in own)),
        "base": str(run.places.base),
        "base_hash": run.base_hash,
        "precision": run.mixed.replace("no", "float32"),
        "device": str(run.accelerator.device),
        "method": settings.what.method,
        "numbers": sum(p.numel() for p in run.trainee.trained().values()),
        "steps": run.steps,
        "batch": run.batches.order.batch,
        "seconds": forecast.seconds,
        "memory_bytes": forecast.memory_bytes,
        "output": str(run.places.output),
        "skipped": [{"path": str(path), "reason": why} for path, why in data.skipped],
        "notes": list(data.notes),
    }


def describe(facts: dict[str, Any]) -> str:
    """A :func:`plan` for people."""
    found, shown, remembered = facts["pictures"], facts["shown"], facts["remembered"]
    lines = [
        f"Data      {facts['data_dir']}: {found} pictures ({facts['layout']})"
        + (f", each epoch shows {shown}" if shown != found else "")
        + (f"; and {remembered} that the base draws, so as not to forget" if remembered else ""),
        "Sizes     " + ", ".join(f"{each['width']}x{each['height']}: {each['pictures']}" for each in facts["sizes"]),
        "Captions  " + "; ".join(f"{caption!r}" for caption in facts["captions"][:3]),
        f"Base      {facts['base']} ({facts['base_hash']}), {facts['precision']} on {facts['device']}",
        f"Trains    {facts['method']}: {facts['numbers'] / 1e6:.2f} M numbers",
        f"Steps     {facts['steps']} of {facts['batch']} pictures",
        f"Forecast  about {_minutes(facts['seconds'])} and {facts['memory_bytes'] / 1e9:.1f} GB, samples not counted",
        f"Result    {facts['output']}",
    ]
    lines += [f"Skipped   {each['path']}: {each['reason']}" for each in facts["skipped"]]
    return "\n".join([*lines, *(f"Note      {note}" for note in facts["notes"])])


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

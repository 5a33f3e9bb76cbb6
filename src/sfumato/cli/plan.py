"""``plan``: how a picture would be drawn, and in how much memory. Nothing is loaded for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.txt2img import check_flags, load_settings
from sfumato.families import models_folder
from sfumato.runtime import formats
from sfumato.runtime.device import quick
from sfumato.runtime.memory import room
from sfumato.runtime.plan import Ask, plan
from sfumato.weights.sizes import sizes_of


def run(flags: Txt2ImgFlags) -> None:
    """Prints the plan, or as JSON.

    Raises:
        OutOfMemoryError: it does not fit; the message says what does. CheckpointError: there is no such model.
    """
    check_flags(flags)
    settings = load_settings(flags)
    path = models_folder.find(settings.model.type, [Path(settings.models_dir)])
    facts = quick(settings.device)
    chosen = formats.choose(settings.model.precision, facts.kind, facts.bf16, facts.fp16)
    width, height = settings.model.size
    free = room(facts.free_memory)
    made = plan(sizes_of(path), Ask(width, height, flags.batch_size), chosen, free, settings.memory, device=facts.kind)
    if flags.json:
        typer.echo(json.dumps({**asdict(made), "free": free}))
        return
    rows = {"memory": made.rung, "forecast": f"{made.peak / 1e9:.2f} GB of {free / 1e9:.1f} GB that are free"}
    rows |= {stage: f"{taken / 1e9:.2f} GB" for stage, taken in made.stages.items()}
    for name, value in rows.items():
        typer.echo(f"{name:<10}{value}")
    for reason in (chosen.reason, *made.reasons):
        typer.echo(f"- {reason}")

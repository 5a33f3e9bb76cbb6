"""``plan``: how a picture would be drawn, and in how much memory. Nothing is loaded for it."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.forecast import forecast
from sfumato.cli.txt2img import check_flags, load_settings
from sfumato.runtime.plan import Ask


def run(flags: Txt2ImgFlags) -> None:
    """Prints the plan, or as JSON.

    Raises:
        OutOfMemoryError: it does not fit; the message says what does. CheckpointError: there is no such model.
    """
    check_flags(flags)
    settings = load_settings(flags)
    made, chosen, free = forecast(settings, Ask(*settings.model.size, flags.batch_size))
    if flags.json:
        typer.echo(json.dumps({**asdict(made), "free": free}))
        return
    rows = {"memory": made.rung, "forecast": f"{made.peak / 1e9:.2f} GB of {free / 1e9:.1f} GB that are free"}
    rows |= {stage: f"{taken / 1e9:.2f} GB" for stage, taken in made.stages.items()}
    for name, value in rows.items():
        typer.echo(f"{name:<10}{value}")
    for reason in (chosen.reason, *made.reasons):
        typer.echo(f"- {reason}")

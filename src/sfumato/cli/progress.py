"""The progress bar: step, time left and steps a second, on standard error, and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sfumato.request import StepEvent

OnStep = Callable[[StepEvent], None]


@contextmanager
def step_bar(label: str) -> Iterator[OnStep]:
    """A bar for one batch; gives what to call after every step. Gone when the batch is done.

    Before the first step the bar only moves: the model is being loaded, and nobody knows for how long.
    """
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.fields[steps]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    # Standard output stays what it is: paths or JSON go there, perhaps into a pipe.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task(escape(label), total=None, steps="?", speed="")

        def on_step(event: StepEvent) -> None:
            text = speed(event.seconds / event.step)
            bar.update(task, total=event.steps, completed=event.step, steps=event.steps, speed=text)

        yield on_step


def speed(seconds: float) -> str:
    """Seconds of one step as people read them.

    >>> speed(0.25), speed(4.0), speed(0)
    ('4.00 it/s', '4.00 s/it', '')
    """
    if seconds <= 0:
        return ""
    return f"{1 / seconds:.2f} it/s" if seconds < 1 else f"{seconds:.2f} s/it"


def _silent(event: StepEvent) -> None:
    """No terminal, no bar."""

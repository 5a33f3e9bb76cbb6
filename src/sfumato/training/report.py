"""What a run shows of itself: a line of numbers for each step, a plot of the loss, and sheets of sample pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from sfumato.errors import OutputError, RequestError
from sfumato.runtime.atomic import write_whole

if TYPE_CHECKING:
    from sfumato.training.loop import TrainStep

#: Steps that one point of the smoothed loss averages over, as a share of all.
SMOOTHING = 0.05


class Metrics:
    """``metrics.jsonl``, one object a step; after a resume what came after its step is taken out."""

    def __init__(self, path: Path, resumed_at: int, tensorboard: bool = False) -> None:
        """``resumed_at`` is the step that the run goes on from, 0 for a new one."""
        self._path = path
        kept = [row for row in read_metrics(path) if row["step"] <= resumed_at] if resumed_at else []
        self._steps = [(row["step"], row["loss"]) for row in kept]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._board = _board(path.parent) if tensorboard else None

    def add(self, step: TrainStep) -> None:
        """Append a step.

        Raises:
            OutputError: the disk is full.
        """
        self._steps.append((step.step, step.loss))
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(step)) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: can't be written ({error.strerror or error}).") from error
        if self._board is not None:
            self._board.add_scalar("loss", step.loss, step.step)
            self._board.add_scalar("learning_rate", step.rate, step.step)

    def plot(self) -> None:
        """Write ``loss.png`` beside the numbers."""
        if len(self._steps) > 1:
            write_whole(self._path.with_name("loss.png"), plot(self._steps))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The finished lines of a metrics file; a last line that was cut off is left out."""
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RequestError("--tensorboard needs a package: pip install sfumato[tensorboard]") from error
    return SummaryWriter(str(folder / "tensorboard"))


def plot(points: Sequence[tuple[int, float]]) -> bytes:
    """A PNG of the loss by step, each and smoothed, on a logarithmic scale."""
    from matplotlib.figure import Figure

    steps, losses = zip(*points, strict=True)
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="0.8", linewidth=0.7, label="each step")
    axes.plot(steps, smooth(losses), color="tab:blue", label="smoothed")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def smooth(values: Sequence[float]) -> list[float]:
    """An exponential average over about a twentieth of the values, without a start-up bias.

    >>> smooth([1.0, 1.0, 1.0])
    [1.0, 1.0, 1.0]
    """
    keep = 1 - 1 / max(1.0, SMOOTHING * len(values))
    out, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out


def sheet(images: Sequence[Image.Image], labels: Sequence[str]) -> bytes:
    """A PNG with all pictures side by side, in rows of four, each with its words below."""
    columns, line = min(4, len(images)), 14
    width, height = images[0].size
    page = Image.new("RGB", (columns * width, -(-len(images) // columns) * (height + line)), "white")
    pen = ImageDraw.Draw(page)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = k % columns * width, k // columns * (height + line)
        page.paste(image, (x, y))
        pen.text((x + 2, y + height + 1), label.encode("ascii", "replace").decode()[: width // 6], fill="black")
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()

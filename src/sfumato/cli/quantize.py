"""``quantize``: a model in fewer bits, and what that cost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sfumato.errors import RequestError

if TYPE_CHECKING:
    from sfumato.quant.convert import Report


@dataclass(frozen=True, kw_only=True)
class QuantizeFlags:
    """What was typed."""

    model_path: Path
    output_path: Path
    type: str
    layout: str
    rules: list[str]
    dequantize: bool
    force: bool
    verify: int = 0
    config: Path | None = None
    json: bool = False


#: That ``--verify`` draws.
MOST_PICTURES = 100
#: What ComfyUI-GGUF calls the families; Stable Diffusion 2 has no name of its own there.
ARCHITECTURES = {"sdxl": "sdxl", "sdxl-refiner": "sdxl", "sd3": "sd3"}


def run(flags: QuantizeFlags) -> None:
    """Writes the smaller model, or with ``--dequantize`` a plain one, and prints a table of what became of it.

    Raises:
        SfumatoError: what can't be done; then nothing is written.
    """
    from sfumato import config
    from sfumato.families import models_folder
    from sfumato.families.registry import family_of
    from sfumato.quant import rules
    from sfumato.weights.packed_folder import is_packed_folder, open_whole

    if flags.layout not in rules.LAYOUTS:
        raise RequestError(f"--layout {flags.layout!r} is unknown; choose {' or '.join(rules.LAYOUTS)}.")
    wish, given = rules.type_of("--type", flags.type), rules.parse_rules(flags.rules)
    settings = config.load(flags.config, os.environ, {}).settings
    model_path = models_folder.find(flags.model_path, [Path(settings.models_dir)])
    if flags.output_path.exists() and not flags.force:
        raise RequestError(f"--output_path {flags.output_path} is there already; --force writes over it.")
    _check(flags)
    source = open_whole(model_path)
    names = {name: name for name in source if not _left_out(name)}
    if flags.dequantize:
        from sfumato.quant.plain import write_plain

        write_plain(source, names, flags.output_path)
        typer.echo(str(flags.output_path))
        return
    from sfumato.quant.convert import convert

    with _lines() if flags.json else _bar() as on_tensor:
        packed = is_packed_folder(source.header)
        architecture = "diffusers" if packed else ARCHITECTURES.get(family_of(source.header), "sd1")
        report = convert(source, names, flags.output_path, wish, flags.layout, architecture, given, on_tensor)
    before = models_folder.size_of(model_path)
    typer.echo("\n".join(describe(report, flags, before)), err=True)
    if flags.verify:
        from sfumato.cli.verify import verify

        typer.echo(verify(model_path, flags.output_path, flags.verify), err=True)
    typer.echo(json.dumps({"report": _facts(report, flags, before)}) if flags.json else str(flags.output_path))


def _check(flags: QuantizeFlags) -> None:
    """Checks of the output's name and of flags that exclude each other."""
    ending = ".safetensors" if flags.dequantize else ".gguf"
    if flags.output_path.suffix != ending:
        raise RequestError(f"--output_path {flags.output_path} must end in {ending}.")
    if not 0 <= flags.verify <= MOST_PICTURES:
        raise RequestError(f"--verify {flags.verify} is out of range; it must be 0 to {MOST_PICTURES}.")
    if flags.verify and flags.dequantize:
        raise RequestError("--verify goes with a smaller model, not with --dequantize; leave one out.")


def _left_out(name: str) -> bool:
    """Training leftovers, which no program needs to draw."""
    return name.startswith(("model_ema.", "loss.", "optimizer")) or name.endswith("position_ids")


def _facts(report: Report, flags: QuantizeFlags, before: int) -> dict[str, Any]:
    """The report as plain values; sizes are in bytes, errors parts of one."""
    groups = [
        {"part": part, "type": kind, "tensors": g.tensors, "numbers": g.numbers, "bytes": g.bytes,
         "error": g.relative_error}
        for (part, kind), g in sorted(report.groups.items())
    ]  # fmt: skip
    sizes = {"bytes": flags.output_path.stat().st_size, "bytes_before": before}
    bits = {"bits_per_weight": report.bits_per_weight}
    return {"output": str(flags.output_path), **sizes, **bits, "groups": groups, "kept": report.reasons}


def describe(report: Report, flags: QuantizeFlags, before: int) -> list[str]:
    """The table: what became of which part, and at which cost."""
    after = flags.output_path.stat().st_size
    lines = [f"{'part':<14}{'type':<7}{'tensors':>8}{'weights':>12}{'MB':>9}{'error':>9}"]
    for (part, kind), group in sorted(report.groups.items()):
        lines.append(
            f"{part:<14}{kind:<7}{group.tensors:>8}{group.numbers / 1e6:>10.2f} M"
            f"{group.bytes / 1e6:>9.1f}{group.relative_error:>9.2%}"
        )
    if report.reasons:
        kept = ", ".join(f"{count} ({why})" for why, count in sorted(report.reasons.items()))
        lines.append(f"not in {flags.type}: {kept}")
    size = f"{after / 1e9:.3f} GB, {after / before:.0%} of {before / 1e9:.3f} GB"
    lines.append(f"{report.bits_per_weight:.2f} bits a weight; {size}")
    return lines


@contextmanager
def _lines() -> Iterator[Callable[[int, int], Any]]:
    """Progress for programs: one object a line."""
    yield lambda done, total: typer.echo(json.dumps({"done": done, "total": total}))


@contextmanager
def _bar() -> Iterator[Callable[[int, int], Any]]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("quantizing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""``inspect``: what model files are, from their headers alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import typer

from sfumato.errors import CheckpointError, RequestError
from sfumato.weights.detect import LABELS
from sfumato.weights.digest import known_hash, model_hash
from sfumato.weights.survey import ADAPTERS, Survey, surveys


def run(paths: list[Path], with_hash: bool, as_json: bool, model: str | None = None) -> None:
    """Prints a page for one file, a line for each of several, or JSON. With a ``model``, adapters that do not fit it
    are files that would not load.

    Raises:
        CheckpointError: there is nothing at one of the paths, or no such model.
        RequestError: there is a model, and no adapter to fit it.
    """
    found = surveys(paths)
    fitting = _fit(found, model) if model is not None else {}
    found = [replace(one, problem=one.problem or fitting.get(one.path, ("", ""))[1]) for one in found]
    hashes = {one.path: _hash(one, with_hash) for one in found} if as_json or with_hash or len(found) == 1 else {}
    if as_json:
        for one in found:
            fits = {"fits": fitting[one.path][0]} if one.path in fitting else {}
            typer.echo(json.dumps({**asdict(one), "hash": hashes[one.path], "loads": not one.problem, **fits}))
    elif len(found) == 1:
        typer.echo("\n".join(page(found[0], hashes[found[0].path])))
        if said := fitting.get(found[0].path, ("", ""))[0]:
            typer.echo(f"  {'fits':<11}{said}")
    else:
        for line in table(found):
            typer.echo(line)


def _fit(found: list[Survey], model: str) -> dict[str, tuple[str, str]]:
    """Of each adapter how it fits, or why it does not."""
    from sfumato import config
    from sfumato.families import fitting, models_folder

    if not any(one.kind in ADAPTERS or one.problem for one in found):
        raise RequestError("--with says how LoRAs and embeddings fit a model, and none is given; leave it out.")
    settings = config.load(None, os.environ, {}).settings
    networks = fitting.skeleton(models_folder.find(model, [Path(settings.models_dir)]))
    out = {}
    for one in found:
        if one.kind in ADAPTERS:
            try:
                out[one.path] = fitting.fits(Path(one.path), networks), ""
            except CheckpointError as error:
                out[one.path] = "", str(error).removeprefix(f"{one.path}: ")
    return out


def _hash(one: Survey, with_hash: bool) -> str | None:
    """The model's hash if it is known already or asked for: it takes reading all of the file."""
    if with_hash and one.kind != "unknown":
        return model_hash(Path(one.path))
    return known_hash(Path(one.path))


def page(one: Survey, known: str | None) -> Iterator[str]:
    """All that is known of one file."""
    yield one.path
    rows: dict[str, Any] = {"kind": label(one), "size": f"{size(one.bytes)} in {one.tensors} tensors"}
    if one.kind != "unknown" or one.tensors:
        rows["prediction"] = one.prediction or "not said by the file"
        rows["types"] = ", ".join(f"{name} {count(numbers)}" for name, numbers in one.dtypes.items())
        rows["numbers"] = ", ".join(f"{name} {count(numbers)}" for name, numbers in one.parts.items())
        rows["in memory"] = ", ".join(f"{name} {size(taken)}" for name, taken in one.memory.items())
    rows["hash"] = known or "not known yet; --hash reads the file for it"
    rows["loads"] = f"no: {one.problem}" if one.problem else "yes"
    for name, value in rows.items():
        yield f"  {name:<11}{value}"


def table(found: list[Survey]) -> Iterator[str]:
    """A line for each file."""
    for one in found:
        types = "+".join(list(one.dtypes)[:2])
        line = f"{size(one.bytes):>9}  {label(one):<34}  {types:<9}  {one.path}"
        yield f"{line}  ({one.problem})" if one.problem else line


def label(one: Survey) -> str:
    """Kind, family and variant in words."""
    family = LABELS[one.family] if one.family else ""
    return " ".join(word for word in (one.kind, family and f"of {family}", one.variant and f"({one.variant})") if word)


def size(taken: int) -> str:
    """Bytes in words.

    >>> size(2_132_625_150), size(4_100)
    ('2.13 GB', '4.1 kB')
    """
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if taken >= step:
            return f"{taken / step:.{2 if unit == 'GB' else 1}f} {unit}"
    return f"{taken} B"


def count(numbers: int) -> str:
    """Numbers in words.

    >>> count(1_066_235_307), count(77)
    ('1.07 G', '77')
    """
    for unit, step in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if numbers >= step:
            return f"{numbers / step:.{2 if unit == 'G' else 1}f} {unit}"
    return str(numbers)

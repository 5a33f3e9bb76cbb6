"""``models`` and ``samplers``: what can be asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer


def list_models(config_path: Path | None, as_json: bool) -> None:
    """Prints name, kind, size and path of every model, LoRA and embedding."""
    from sfumato import config

    settings = config.load(config_path, os.environ, {}).settings
    folder = Path(settings.models_dir)
    sections = {"Models": find_models(folder), **find_networks(folder)}
    rows = [row for each in sections.values() for row in each]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(f"No models; put a .safetensors file into {Path(settings.models_dir).absolute()}.")
        return
    wide = max(len(row["name"]) for row in rows)
    for title, each in sections.items():
        if each:
            typer.echo(f"{title}:")
        for row in each:
            typer.echo(f"  {row['name']:<{wide}}  {row['bytes'] / 1e6:>8.1f} MB  {row['kind']:<9}  {row['path']}")


def find_networks(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every LoRA and every embedding of the models folder as plain data."""
    from sfumato.families import models_folder

    loras, embeddings = models_folder.list_loras([folder]), models_folder.list_embeddings([folder])
    return {
        "LoRAs": [{**_describe(name, path), "kind": "lora"} for name, path in loras.items()],
        "Embeddings": [{**_describe(name, path), "kind": "embedding"} for name, path in embeddings.items()],
    }


def find_models(folder: Path) -> list[dict[str, Any]]:
    """Every model as plain data: the built-in one first, then those of ``folder``."""
    from sfumato.families import models_folder

    return [_describe(name, path) for name, path in models_folder.list_models([folder]).items()]


def list_samplers(as_json: bool) -> None:
    """Prints samplers and schedules with their other spellings."""
    from sfumato.sampling.names import SAMPLERS, SCHEDULERS

    groups = {"samplers": SAMPLERS, "schedulers": SCHEDULERS}
    if as_json:
        plain = {
            name: [{"name": one.label, "aliases": list(one.aliases)} for one in each] for name, each in groups.items()
        }
        typer.echo(json.dumps(plain))
        return
    for name, each in groups.items():
        typer.echo(f"{name.capitalize()}:")
        wide = max(len(one.label) for one in each)
        for one in each:
            typer.echo(f"  {one.label:<{wide}}  {', '.join(one.aliases)}".rstrip())


def _describe(name: str, path: Path) -> dict[str, Any]:
    from sfumato.families import models_folder

    kind = "folder" if path.is_dir() else "file"
    return {"name": name, "kind": kind, "bytes": models_folder.size_of(path), "path": str(path)}

"""``config``, ``info`` and ``--version``: what is set, and how a picture was made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer

from sfumato import __version__
from sfumato.errors import RequestError
from sfumato.gallery import files, infotext


def show_version() -> None:
    """Prints program and version."""
    typer.echo(f"sfumato {__version__}")


def show_config(path: Path | None, as_json: bool) -> None:
    """Prints every setting with its source: default, a line of a file, an environment variable."""
    from sfumato import config

    loaded = config.load(path, os.environ, {})
    rows = loaded.rows()
    if as_json:
        typer.echo(json.dumps({key: {"value": value, "source": source} for key, (value, source) in rows.items()}))
        return
    wide_key, wide_value = max(map(len, rows)), max(len(_plain(value)) for value, _ in rows.values())
    for key, (value, source) in rows.items():
        typer.echo(f"{key:<{wide_key}}  {_plain(value):<{wide_value}}  {source}")


def show_info(path: Path, as_json: bool) -> None:
    """Prints the request that made a picture, and whatever else its metadata says.

    Raises:
        RequestError: no picture, or one without metadata.
    """
    text = files.read(path)
    if text is None:
        raise RequestError(f"{path} does not say how it was made; it was saved without metadata.")
    fields = infotext.parse(text)
    request = infotext.request_dict(infotext.to_request(fields))
    if as_json:
        typer.echo(json.dumps({"request": request, "fields": fields, "infotext": text}))
        return
    for name, value in request.items():
        typer.echo(f"{name}: {_plain(value)}")
    for key in ("Model", "Model hash", "Version"):
        if key in fields:
            typer.echo(f"{key.lower().replace(' ', '_')}: {fields[key]}")


def _plain(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""The API's reference at ``/docs``: one plain page with every route and shape. Nothing in it comes from afar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}pre{overflow:auto}"
_SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "X-Frame-Options": "DENY"}


def mount(app: FastAPI) -> None:
    """Add ``/docs``."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return _page("Sfumato: API", "".join(_reference(app.openapi())))


def _page(title: str, body: str) -> HTMLResponse:
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return HTMLResponse(f"{head}<h1>{title}</h1>{body}", headers=_SAFE)


def _reference(schema: dict[str, Any]) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, what in methods.items():
            yield f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code>"
            yield f" {escape(what.get('description', what.get('summary', '')))}</summary>"
            shown = {key: what[key] for key in ("parameters", "requestBody") if key in what}
            yield f"<pre>{escape(json.dumps(shown, indent=1))}</pre></details>" if shown else "</details>"
    for name, shape in schema.get("components", {}).get("schemas", {}).items():
        yield f"<details><summary>{escape(name)}</summary><pre>{escape(json.dumps(shape, indent=1))}</pre></details>"

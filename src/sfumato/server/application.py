"""The one application that all of the server is mounted on."""

from __future__ import annotations

import secrets
from pathlib import Path

from fastapi import FastAPI

import sfumato
from sfumato.runtime.atomic import write_whole
from sfumato.server.access import Access, Guard
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.pages import mount


def create(desk: Desk, access: Access, folder: Path) -> FastAPI:
    """The application: health, and the pages.

    Args:
        folder: where visitors' forms are kept, and the secret that signs their cookies.
    """
    app = FastAPI(title="Sfumato", version=sfumato.__version__, docs_url=None, redoc_url=None)

    @app.get("/api/v1/health")
    def health() -> dict[str, object]:
        """That the server answers, and how many jobs are in each state."""
        counts = desk.queue.counts()
        return {"status": "ok", "jobs": {state.value: count for state, count in counts.items()}}

    mount(app, desk, folder / "pages", _secret(folder / "pages.secret"))
    app.add_middleware(Guard, access=access)
    return app


def _secret(path: Path) -> str:
    """The same at every start, so that a visitor is known again."""
    if not path.exists():
        write_whole(path, secrets.token_hex(32).encode("ascii"))
        path.chmod(0o600)
    return path.read_text(encoding="ascii")

"""The one application that all of the server is mounted on."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.middleware.cors import CORSMiddleware

import sfumato
from sfumato.runtime.atomic import write_whole
from sfumato.server import endings, failures, reference
from sfumato.server.access import Access, Guard
from sfumato.server.api import comfy, facts, grids, models, native, openai, pictures, sdapi, sdapi_facts
from sfumato.server.api import styles as style_routes
from sfumato.server.api import trainings as training_routes
from sfumato.server.limits import BodyLimit
from sfumato.server.metrics import Metrics
from sfumato.server.refusals import Refusals
from sfumato.server.services import Services
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.pages import mount
from sfumato.server.work import Tasks


def create(services: Services, access: Access, desk: Desk | None = None, folder: Path | None = None) -> FastAPI:
    """The application: four dialects, metrics, and the pages.

    Args:
        desk: what the pages show; None leaves them out.
        folder: where visitors' forms are kept, and the secret that signs their cookies.
    """
    metrics, tasks = Metrics(services), Tasks(services)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with endings.heard(services.queue, metrics.count, functools.partial(endings.shelve, services)):
            yield

    app = FastAPI(title="Sfumato", version=sfumato.__version__, docs_url=None, redoc_url=None, lifespan=life)
    failures.install(app)
    app.include_router(native.routes(services))
    app.include_router(grids.routes(services))
    app.include_router(pictures.routes(services))
    if services.styles is not None:
        app.include_router(style_routes.routes(services.styles))
    if services.trainings is not None:
        app.include_router(training_routes.routes(services, services.trainings))
    app.include_router(models.routes(services))
    app.include_router(facts.routes(services))
    app.include_router(sdapi.routes(services, tasks))
    app.include_router(sdapi_facts.routes(services, tasks))
    app.include_router(openai.routes(services, tasks))
    for router in comfy.routes(services):
        app.include_router(router)

    @app.get("/metrics", tags=["facts"], response_class=Response)
    def read_metrics() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    reference.mount(app)
    if desk is not None and folder is not None:
        mount(app, desk, folder / "pages", _secret(folder / "pages.secret"))
    app.add_middleware(BodyLimit, limits=services.limits)
    if access.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(access.origins), allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Guard, access=access)
    app.add_middleware(Refusals)
    return app


def _secret(path: Path) -> str:
    """The same at every start, so that a visitor is known again."""
    if not path.exists():
        write_whole(path, secrets.token_hex(32).encode("ascii"))
        path.chmod(0o600)
    return path.read_text(encoding="ascii")

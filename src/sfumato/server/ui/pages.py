"""The pages and their addresses, mounted on the server's application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nicegui
from fastapi import FastAPI, Response
from nicegui import ui

from sfumato.server.ui import facts
from sfumato.server.ui.assets import KeptAssets
from sfumato.server.ui.create import CreatePage
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.edit import EditPage, arrive
from sfumato.server.ui.explore import ExplorePage
from sfumato.server.ui.gallery_page import GalleryPage
from sfumato.server.ui.models_page import ModelsPage
from sfumato.server.ui.queue_page import QueuePage
from sfumato.server.ui.reader import read_anywhere
from sfumato.server.ui.train_page import TrainPage
from sfumato.server.ui.tray import Tray, routes
from sfumato.server.ui.upscale import UpscalePage, bring
from sfumato.server.ui.words import say

#: Seconds that a page may be silent, as on a busy computer, before it has to load anew and loses what was typed.
PATIENCE = 30.0


def mount(app: FastAPI, desk: Desk, folder: Path, secret: str) -> None:
    """Add the pages to the application, after all its own routes.

    Args:
        folder: where the pages keep what visitors filled in.
        secret: signs the cookie by which a visitor's form is found again.
    """
    nicegui.app.storage.path = folder
    ui.page("/")(lambda: CreatePage(desk) and None)
    tray = Tray(folder / "pictures", desk.services.limits)
    app.include_router(routes(tray))

    def edit(job: str = "", index: int = 0, picture: str = "") -> Response | None:
        return arrive(desk, tray, job, index, picture) if job or picture else EditPage(desk, tray) and None

    ui.page("/edit")(edit)

    def upscale(job: str = "", index: int = 0, picture: str = "") -> Response | None:
        return bring(desk, tray, job, index, picture) if job or picture else UpscalePage(desk, tray) and None

    ui.page("/upscale")(upscale)
    ui.page("/gallery")(lambda: GalleryPage(desk.services) and None)

    def reading(page: Callable[[], object]) -> Callable[[], None]:
        def show() -> None:
            page()
            read_anywhere(desk.services)

        return show

    ui.page("/explore")(reading(lambda: ExplorePage(desk)))
    ui.page("/queue")(reading(lambda: QueuePage(desk.services.queue)))
    if (trainings := desk.services.trainings) is not None:
        ui.page("/train")(reading(lambda: TrainPage(desk, trainings)))
    ui.page("/models")(reading(lambda: ModelsPage(desk)))
    ui.page("/settings")(reading(lambda: facts.settings_page(desk)))
    ui.run_with(
        app,
        title=say("title"),
        storage_secret=secret,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=PATIENCE,
        gzip_middleware_factory=KeptAssets,
    )

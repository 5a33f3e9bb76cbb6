"""``/api/v1/styles``: pieces of prompts under names."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from sfumato.server.strict import Route
from sfumato.server.styles import Style, Styles

Words = Annotated[str, Field(max_length=100_000)]


class NewStyle(BaseModel):
    """A style's words; ``{prompt}`` in them stands for the prompt."""

    model_config = ConfigDict(extra="forbid")

    prompt: Words = ""
    negative_prompt: Words = ""


def routes(styles: Styles) -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1/styles", tags=["styles"], route_class=Route)

    @router.get("")
    def list_styles() -> dict[str, Any]:
        """All styles."""
        return {"styles": [vars(style) for style in styles.read().values()]}

    @router.put("/{name}")
    def put(name: Annotated[str, Field(max_length=200)], new: NewStyle) -> dict[str, Any]:
        """Keep a style."""
        style = Style(name=name, **new.model_dump())
        styles.put(style)
        return vars(style)

    @router.delete("/{name}", status_code=204)
    def remove(name: str) -> None:
        """Drop a style."""
        styles.remove(name)

    @router.post("/import")
    def take(file: Annotated[UploadFile, File()]) -> dict[str, int]:
        """Add the styles of a ``styles.csv``."""
        return {"styles": styles.take(file.file.read())}

    return router

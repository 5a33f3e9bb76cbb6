"""What was refused, to whom and why: one line each in the log."""

from __future__ import annotations

import http
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

_CAUSE = "sfumato.cause"
#: Characters of a path and of a cause that a line may have.
_PATH, _REASON = 100, 200


def note(scope: Scope, cause: str) -> None:
    """Say why a request will be refused; the last word counts."""
    scope[_CAUSE] = cause


class Refusals:
    """Middleware, the outermost: a line for every answer from 400 to 499 and every websocket that is turned away.

    The line has no query and no header, where secrets are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = False

        async def watched(message: Message) -> None:
            nonlocal opened
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                if 400 <= message["status"] < 500:
                    logger.warning("%s", _line(scope, message["status"]))
            elif message["type"] == "websocket.accept":
                opened = True
            elif message["type"] == "websocket.close" and not opened:
                logger.warning("%s", _line(scope, 403))
            await send(message)

        await self._app(scope, receive, watched)


def _line(scope: Scope, status: int) -> str:
    client = scope["client"][0] if scope.get("client") else "local"
    method, path = scope.get("method", "websocket"), _plain(scope["path"], _PATH)
    cause = scope.get(_CAUSE) or http.HTTPStatus(status).phrase
    return f"refused with {status}: {method} {path} from {client}: {_plain(cause, _REASON)}"


def _plain(text: str, most: int) -> str:
    """On one line, and no longer than ``most``; nothing that moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])

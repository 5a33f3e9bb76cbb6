"""The pages' scripts, styles and fonts from memory: each is read and packed once, not for every new visitor."""

from __future__ import annotations

from nicegui import __version__
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What lies under it never changes: a browser keeps it for a year.
PREFIX = f"/_nicegui/{__version__}/"
#: Bytes, packed; more is sent as it is read.
MOST = 16 << 20


class KeptAssets(GZipMiddleware):
    """Packs what is sent, as its parent does, and remembers whole files of NiceGUI's."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._kept: dict[tuple[str, bool], tuple[list[tuple[bytes, bytes]], bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_asset(scope):
            await super().__call__(scope, receive, send)
            return
        key = (scope["path"], "gzip" in Headers(scope=scope).get("accept-encoding", ""))
        if key in self._kept:
            headers, body = self._kept[key]
            # a list of its own: middleware further out adds to it
            await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await send({"type": "http.response.body", "body": body})
            return
        told: list[Message] = []

        async def listen(message: Message) -> None:
            told.append({**message, "headers": list(message.get("headers", ()))})
            await send(message)

        await super().__call__(scope, receive, listen)
        if len(told) > 1 and not told[-1].get("more_body", False):
            self._keep(key, told)

    def _keep(self, key: tuple[str, bool], told: list[Message]) -> None:
        """Only what there is, for everyone."""
        start, *parts = told
        headers, body = start["headers"], b"".join(part.get("body", b"") for part in parts)
        room = MOST - sum(len(each) for _, each in self._kept.values())
        if start["status"] == 200 and "set-cookie" not in Headers(raw=headers) and len(body) <= room:
            self._kept[key] = (headers, body)


def _is_asset(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and scope["path"].startswith(PREFIX)
        and not scope["query_string"]
        and "range" not in Headers(scope=scope)
    )

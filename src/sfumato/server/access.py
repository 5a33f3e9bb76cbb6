"""Who may talk to the server: known names only, no foreign pages, and a token or password where one is asked for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "sfumato"
#: Methods that change nothing, which a link on a foreign page may use.
_READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Access:
    """What is asked of a client.

    Attributes:
        names: host names that the server answers to, beside IP addresses and ``localhost``: a page elsewhere that has
            its own name point here (DNS rebinding) is refused.
        credentials: ``user:password``, or a token alone; None asks for nothing.
    """

    names: Collection[str] = ()
    credentials: str | None = None

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server.

        >>> Access().knows("127.0.0.1:7860"), Access().knows("evil.example:7860")
        (True, False)
        """
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", *self.names):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def accepts(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header (Basic or Bearer) has the credentials; takes the same time either way."""
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        return hmac.compare_digest(_digest(given), _digest(self.credentials or ""))


class Guard:
    """Middleware that refuses before anything else is looked at; pages stay signed in by a cookie of this run."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, self._remember(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> PlainTextResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._access.knows(host):
            return PlainTextResponse(
                f"This server does not answer to the name {host!r}; give it with --host_name.", 403
            )
        changing = scope["type"] == "websocket" or scope["method"] not in _READING
        if changing and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("Requests from other pages are refused.", 403)
        if self._access.credentials is None or self._signed_in(headers):
            return None
        if self._access.accepts(headers.get("authorization", "")):
            return None
        return PlainTextResponse("Name and password, please.", 401, {"WWW-Authenticate": 'Basic realm="Sfumato"'})

    def _signed_in(self, headers: dict[str, str]) -> bool:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        return cookie is not None and hmac.compare_digest(_digest(cookie.value), _digest(self._session))

    def _remember(self, send: Send) -> Send:
        """Browsers do not always send credentials with a websocket, but they send this cookie."""
        if self._access.credentials is None:
            return send

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = f"{COOKIE}={self._session}; HttpOnly; SameSite=Strict; Path=/"
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie.encode())]
            await send(message)

        return with_cookie


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()

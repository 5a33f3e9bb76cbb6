"""Who may talk to the server: known names only, no foreign pages, and a token or password where one is asked for."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfumato.errors import RequestError
from sfumato.server.refusals import note

COOKIE = "sfumato"
MIN_SECRET = 8
_HASHED = "$argon2"
#: Small enough that many wrong tries at once do not fill the memory: 19 MiB and 2 passes (OWASP).
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True)
class Credential:
    """A user with the Argon2 hash of the password; ``user`` is empty for a token."""

    user: str
    hash: str = field(repr=False)


def read_credentials(text: str) -> tuple[Credential, ...]:
    """``user:password,user2:password2``, or a token; a password or token may be given as its Argon2 hash.

    Raises:
        RequestError: one is too short to keep anyone out, or is no hash though it begins like one.
    """
    if _HASHED in text:  # hashes have commas in them
        user, _, secret = text.rpartition(":")
        return (Credential(user, _hash(secret)),)
    found = [part.partition(":") for part in text.split(",")]
    return tuple(
        Credential(user, _hash(secret)) if colon else Credential("", _hash(user)) for user, colon, secret in found
    )


def _hash(secret: str) -> str:
    if secret.startswith(_HASHED):
        try:
            _HASHER.check_needs_rehash(secret)
        except InvalidHashError:
            raise RequestError("--api_auth begins like an Argon2 hash but is none; give it whole, in quotes.") from None
        return secret
    if len(secret) < MIN_SECRET:
        raise RequestError(f"--api_auth is too short to keep anyone out: give at least {MIN_SECRET} characters.")
    return _HASHER.hash(secret)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What is asked of a client.

    Attributes:
        names: host names that the server answers to, beside IP addresses and ``localhost``: a page elsewhere that has
            its own name point here (DNS rebinding) is refused.
        credentials: who comes in; none asks for nothing.
        origins: pages elsewhere (``https://example.org``) that may call, by CORS; none by default.
    """

    names: Sequence[str] = ()
    credentials: Sequence[Credential] = ()
    origins: Sequence[str] = ()

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server.

        >>> Access().knows("127.0.0.1:7860"), Access().knows("evil.example:7860")
        (True, False)
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Door:
    """Checks credentials; the slow check is made once for each right one, and after that a quick one."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._key = secrets.token_bytes(32)
        self._seen: set[bytes] = set()
        self._one = asyncio.Lock()
        self._nobody = _HASHER.hash(secrets.token_hex(16)) if access.credentials else ""

    async def accepts(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header (Basic or Bearer) has a credential of ours."""
        given = _given(authorization)
        if given is None:
            return False
        mark = hmac.digest(self._key, given.encode("utf-8"), "sha256")
        if any(hmac.compare_digest(mark, each) for each in self._seen):
            return True
        async with self._one:  # one slow check at a time, so that tries can't use up the machine
            right = await asyncio.to_thread(self._slow, given)
        if right:
            self._seen.add(mark)
        return right

    def _slow(self, given: str) -> bool:
        user, colon, password = given.partition(":")
        tries = [(user, password)] if colon else []
        for name, secret in (*tries, ("", given)):
            for each in self._access.credentials:
                if hmac.compare_digest(_digest(each.user), _digest(name)) and _fits(each.hash, secret):
                    return True
        _fits(self._nobody, given)  # an unknown user takes as long as a wrong password
        return False


def _fits(hash: str, secret: str) -> bool:
    try:
        return _HASHER.verify(hash, secret)
    except VerificationError:
        return False


def _given(authorization: str) -> str | None:
    kind, _, text = authorization.partition(" ")
    if kind.lower() == "bearer":
        return text or None
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(text, validate=True).decode("utf-8") or None
    except (binascii.Error, UnicodeDecodeError):
        return None


class Guard:
    """Middleware that refuses before anything else is looked at; pages stay signed in by a cookie of this run."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access, self._door = app, access, Door(access)
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = await self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, self._remember(send))
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        host, origin, asking = headers.get("host", ""), headers.get("origin"), scope.get("method") == "OPTIONS"
        if not self._access.knows(host):
            message = "This server does not answer to that name; give it with --host_name."
            return _refuse(scope, 403, "Forbidden", message)
        if origin is not None and not asking and not self._own(origin, host):
            return _refuse(scope, 403, "Forbidden", "Requests from other pages are refused.")
        if not self._access.credentials or self._signed_in(headers):
            return None
        if asking and origin in self._access.origins:
            return None  # a browser asks, without credentials, what it may do
        if await self._door.accepts(headers.get("authorization", "")):
            return None
        answer = _refuse(scope, 401, "Unauthorized", "Name and password, or a token, please.")
        answer.headers["WWW-Authenticate"] = 'Basic realm="Sfumato"'
        return answer

    def _own(self, origin: str, host: str) -> bool:
        try:
            return origin in self._access.origins or urlsplit(origin).netloc == host
        except ValueError:
            return False

    def _signed_in(self, headers: dict[str, str]) -> bool:
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(_digest(cookie), _digest(self._session))

    def _remember(self, send: Send) -> Send:
        """Browsers do not always send credentials with a websocket, but they send this cookie."""
        if not self._access.credentials:
            return send

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = f"{COOKIE}={self._session}; HttpOnly; SameSite=Strict; Path=/"
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie.encode())]
            await send(message)

        return with_cookie


def _refuse(scope: Scope, status: int, error: str, message: str) -> JSONResponse:
    note(scope, message)
    return JSONResponse({"error": error, "detail": message, "body": "", "errors": message}, status)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()

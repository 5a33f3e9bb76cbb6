"""How much a client may ask for, and middleware that cuts bodies off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfumato.errors import RequestError
from sfumato.server.refusals import note


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one request may have.

    ``body_bytes`` of a request, ``picture_pixels`` of a picture that comes in, ``pixels`` of one that is drawn,
    ``jobs`` of one client that have not ended. A body has ``body_seconds`` to come, and more for each
    ``body_rate`` bytes of it that came.
    """

    body_bytes: int = 64 << 20
    picture_pixels: int = 4096 * 4096
    pixels: int = 4096 * 4096
    steps: int = 1000
    batch: int = 16
    iterations: int = 16
    jobs: int = 1000
    prompt: int = 100_000
    body_seconds: float = 30.0
    body_rate: float = 16_384.0

    def check(self, *, steps: int, width: int, height: int, batch: int, iterations: int = 1) -> None:
        """Raises RequestError for more than is allowed."""
        asked = {"steps": (steps, self.steps), "pixels": (width * height, self.pixels), "batch": (batch, self.batch)}
        asked["iterations"] = (iterations, self.iterations)
        for name, (value, most) in asked.items():
            if not 1 <= value <= most:
                raise RequestError(f"{name} is {value}; this server takes 1 to {most}.")


class BodyLimit:
    """Middleware: 413 for a body that is too long, 408 for one that does not come."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._limits.body_bytes
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > most:
            await _answer(scope, 413, f"A body has at most {most} bytes here.")(scope, receive, send)
            return
        body = _Body(receive, self._limits)
        with contextlib.suppress(_CutError):
            await self._app(scope, body.receive, body.watch(send))
        if body.cut is not None:
            await _answer(scope, body.cut.status, str(body.cut))(scope, receive, send)


class _CutError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Body:
    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._got, self._whole, self._answered = 0, False, False
        self._waited = 0.0
        self.cut: _CutError | None = None

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        began = time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), self._left())
        except asyncio.TimeoutError:
            raise self._end(408, "The body did not come in time.") from None
        self._waited += time.monotonic() - began
        self._got += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._got > self._limits.body_bytes:
            raise self._end(413, f"A body has at most {self._limits.body_bytes} bytes here.")
        return message

    def _left(self) -> float:
        """Seconds of waiting until it comes too slowly; what the server does between is not the client's fault."""
        return max(0.0, self._limits.body_seconds + self._got / self._limits.body_rate - self._waited)

    def _end(self, status: int, message: str) -> _CutError:
        error = _CutError(status, message)
        if not self._answered:
            self.cut = error
        return error

    def watch(self, send: Send) -> Send:
        """Whatever the application makes of a cut body is not sent: the reason is."""

        async def unless_cut(message: Message) -> None:
            if self.cut is None:
                self._answered = True
                await send(message)

        return unless_cut


def _answer(scope: Scope, status: int, message: str) -> JSONResponse:
    note(scope, message)
    return JSONResponse({"error": "Refused", "detail": message, "body": "", "errors": message}, status)

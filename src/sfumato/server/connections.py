"""Connections that dawdle: closed when the head of a request does not come in time, so that they can't be used up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

logger = logging.getLogger(__name__)

#: Seconds in which the head of a request must have come: since the connection, or since the first byte after another.
HEAD_SECONDS = 10.0


class Punctual(AutoHTTPProtocol):
    """uvicorn's HTTP, with a limit for what it waits for without one. For ``uvicorn.Config(http=...)``.

    It limits how long a connection may idle after an answer; this limits a head that comes slowly or never, and what
    trickles in behind an answer. Bodies are the business of :class:`sfumato.server.limits.BodyLimit`.
    """

    seconds = HEAD_SECONDS
    # What uvicorn's protocols have, whichever of them is installed.
    cycle: Any
    client: tuple[str, int] | None
    loop: asyncio.AbstractEventLoop
    transport: Any
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if self._answering():
            self._stop()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop()
        super().connection_lost(exc)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self.transport.get_protocol() is not self or self._answering():
            return
        client = self.client[0] if self.client else "local"
        logger.warning("closed: %s sent no whole request in %g seconds", client, self.seconds)
        self.transport.abort()

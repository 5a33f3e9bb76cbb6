"""The names that a prompt may hold, looked up now and then and not at each letter."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from sfumato.server.services import Services

#: Seconds for which they are not looked up anew.
FRESH = 5.0


@dataclass(frozen=True, kw_only=True)
class Known:
    """What there is."""

    loras: Collection[str] = ()
    embeddings: Collection[str] = ()
    wildcards: Collection[str] = ()


class Names:
    """Those of the models folders."""

    def __init__(self, services: Services) -> None:
        self._services, self._known = services, Known()
        self._until = 0.0

    def now(self) -> Known:
        """What there is, as of a few seconds ago at most."""
        if time.monotonic() >= self._until:
            found = self._services
            self._known = Known(
                loras=tuple(found.loras()), embeddings=tuple(found.embeddings()), wildcards=tuple(found.wildcards())
            )
            self._until = time.monotonic() + FRESH
        return self._known

"""JSON as its standard has it: no NaN and no infinity, not too deep, and not made of too many pieces."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

#: Brackets within brackets, and values in all. Neither counts what is in a text, but every comma of a prompt does.
MAX_DEPTH, MAX_PIECES = 64, 200_000


class StrictRequest(Request):
    """A request whose JSON is checked."""

    async def json(self) -> Any:
        """The body. Raises HTTPException for what is no JSON or is made to be costly."""
        if not hasattr(self, "_strict"):
            self._strict = loads(await self.body())
        return self._strict


class Route(APIRoute):
    """For ``route_class`` of a router: its bodies are read by :class:`StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def loads(body: bytes) -> Any:
    """A body's value; ValueError that is a ``JSONDecodeError`` for a wrong letter, else HTTPException.

    >>> loads(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > MAX_PIECES:
        raise HTTPException(400, f"The JSON has more than {MAX_PIECES} values.")
    try:
        value = json.loads(body, parse_constant=_number, parse_float=_number)
    except RecursionError:
        raise HTTPException(400, f"The JSON is deeper than {MAX_DEPTH}.") from None
    except UnicodeDecodeError:
        raise HTTPException(400, "The JSON is not UTF-8.") from None
    _check(value)
    return value


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise HTTPException(400, f"{text[:20]} is not a number of JSON.")
    return value


def _check(value: object) -> None:
    """Raises HTTPException for what is too deep, and for text with half a character, which no file can hold."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return
    raise HTTPException(400, f"The JSON is deeper than {MAX_DEPTH}.")


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise HTTPException(400, "A text has half of a character in it (a lone surrogate).")
    return value if isinstance(value, list) else []

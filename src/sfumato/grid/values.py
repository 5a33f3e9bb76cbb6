"""Lists of values as people write them: ``1,2,3``, ``1-5``, ``1-10 (+2)``, ``1-10 [4]``. The web UI's rules."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable

from sfumato.errors import RequestError

#: The most values that one axis may have.
MAX_VALUES = 1000
_NUMBER = r"[+-]?\d+(?:\.\d*)?|[+-]?\.\d+"
_RANGE = re.compile(
    rf"\s*(?P<low>{_NUMBER})\s*-\s*(?P<high>{_NUMBER})\s*"
    rf"(?:\(\s*(?P<step>[+-](?:\d+\.?\d*|\.\d+))\s*\)|\[\s*(?P<count>\d+)\s*\])?\s*"
)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def split(text: str) -> list[str]:
    """Values between commas or on lines of their own; quoted ones may have commas. Empty ones do not count.

    >>> split('cat, "dog, sitting" ,bird')
    ['cat', 'dog, sitting', 'bird']

    Raises:
        RequestError: there is none, there are too many, or a quote is not closed.
    """
    if text.count('"') % 2:
        raise RequestError(f'{text!r} has a quote that is not closed; write "a, b",c.')
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    found = [value.strip() for row in rows for value in row if value.strip()]
    if not found:
        raise RequestError("An axis has no values; give some, as steps=10,20,30.")
    return _few(found, text)


def whole_numbers(text: str) -> list[int]:
    """Whole numbers and ranges of them, both ends included; with ``[n]``, n numbers evenly spread, rounded down.

    >>> whole_numbers("1-3, 10-5 (-2), 1-10 [4]")
    [1, 2, 3, 10, 8, 6, 1, 4, 7, 10]
    """
    return [value if isinstance(value, int) else math.floor(value + 1e-9) for value in _numbers(text, _whole)]


def numbers(text: str) -> list[float]:
    """Numbers and ranges of them.

    >>> numbers("0.5, 1-2 (+0.5), 0-1 [3]")
    [0.5, 1.0, 1.5, 2.0, 0.0, 0.5, 1.0]
    """
    return _numbers(text, _real)


def words(text: str) -> list[str]:
    """The values as they are."""
    return split(text)


def switches(text: str) -> list[bool]:
    """``true`` and ``false``, ``on`` and ``off``, ``yes`` and ``no``, ``1`` and ``0``.

    >>> switches("off, on")
    [False, True]
    """
    return [_switch(value) for value in split(text)]


def sizes(text: str) -> list[tuple[int, int]]:
    """Widths and heights in pixels.

    >>> sizes("512x768, 640")
    [(512, 768), (640, 640)]
    """
    return [_size(value) for value in split(text)]


def _numbers(text: str, read: Callable[[str], float]) -> list[float]:
    found: list[float] = []
    for value in split(text):
        span = _RANGE.fullmatch(value)
        found += [read(value)] if span is None else _spread(span, read)
        _few(found, text)
    return found


def _spread(span: re.Match[str], read: Callable[[str], float]) -> list[float]:
    low, high = read(span["low"]), read(span["high"])
    if span["count"] is not None:
        count = int(span["count"])
        if not 1 <= count <= MAX_VALUES:
            raise RequestError(f"{span[0].strip()!r} asks for {count} values; an axis has 1 to {MAX_VALUES}.")
        return [low] if count == 1 else [low + (high - low) * k / (count - 1) for k in range(count)]
    step = read(span["step"]) if span["step"] is not None else math.copysign(1, high - low)
    if step == 0 or (high - low) * step < 0:
        raise RequestError(f"{span[0].strip()!r} never ends: {step:+g} does not lead from {low:g} to {high:g}.")
    steps = (high - low) / step
    if not steps < MAX_VALUES:
        raise RequestError(f"{span[0].strip()!r} has {steps + 1:.0f} values; an axis has at most {MAX_VALUES}.")
    count = math.floor(steps + 1e-9) + 1
    return [round(low + k * step, 10) for k in range(count)]


def _whole(value: str) -> float:
    try:
        number = int(value)
    except ValueError as error:
        raise RequestError(f"{value!r} is not a whole number; write 1,2,3 or 1-5 or 1-10 (+2) or 1-10 [4].") from error
    if abs(number) >= 2**63:
        raise RequestError(f"{value[:40]!r} is too large a number; whole numbers have at most 63 bits.")
    return number


def _real(value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise RequestError(f"{value!r} is not a number; write 1,2.5 or 1-5 or 0-1 (+0.25) or 0-1 [5].") from error
    if not math.isfinite(number):
        raise RequestError(f"{value!r} is not a finite number.")
    return number


def _switch(value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise RequestError(f"{value!r} is neither true nor false.")
    return value.lower() in _TRUE


def _size(value: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})(?:\s*[x×]\s*(\d{1,5}))?", value.lower())
    if match is None:
        raise RequestError(f"{value!r} is not a size; write 512x768.")
    return int(match[1]), int(match[2] or match[1])


def _few(found: list, text: str) -> list:
    if len(found) > MAX_VALUES:
        raise RequestError(f"{text[:40]!r} has {len(found)} values; an axis has at most {MAX_VALUES}.")
    return found

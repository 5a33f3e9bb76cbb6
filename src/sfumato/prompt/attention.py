"""Weights in a prompt: ``(x)``, ``[x]``, ``(x:1.3)``, nesting, escapes, ``BREAK``. The web UI's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Stands between segments where the text asks for a new chunk of tokens.
BREAK = ("BREAK", -1.0)
ROUND = 1.1
SQUARE = 1 / 1.1

_TOKEN = re.compile(
    r"(?P<escape>\\[()\[\]\\])|\\|\(|\[|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|\)|\]|(?P<plain>[^\\()\[\]:]+)|:"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")

Segment = tuple[str, float]


def parse_attention(text: str) -> list[Segment]:
    """Split a text into runs of equal weight; brackets that are not closed end with the text.

    >>> parse_attention("an (important) word")
    [('an ', 1.0), ('important', 1.1), (' word', 1.0)]
    >>> parse_attention("(unbalanced")
    [('unbalanced', 1.1)]
    >>> parse_attention(r"\\(literal\\]")
    [('(literal]', 1.0)]
    >>> parse_attention("(unnecessary)(parens)")
    [('unnecessaryparens', 1.1)]
    >>> parse_attention("one BREAK two")
    [('one', 1.0), ('BREAK', -1.0), ('two', 1.0)]
    >>> parse_attention("")
    [('', 1.0)]
    """
    segments: list[Segment] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(first: int, factor: float) -> None:
        for index in range(first, len(segments)):
            if segments[index] != BREAK:
                segments[index] = (segments[index][0], segments[index][1] * factor)

    for match in _TOKEN.finditer(text):
        token = match.group()
        weight = _number(match["weight"])
        if match["escape"]:
            segments.append((token[1], 1.0))
        elif token in opened:
            opened[token].append(len(segments))
        elif weight is not None and opened["("]:
            multiply(opened["("].pop(), weight)
        elif token == ")" and opened["("]:
            multiply(opened["("].pop(), ROUND)
        elif token == "]" and opened["["]:
            multiply(opened["["].pop(), SQUARE)
        else:
            segments += _with_breaks(token)
    for first in opened["("]:
        multiply(first, ROUND)
    for first in opened["["]:
        multiply(first, SQUARE)
    return _merged(segments) or [("", 1.0)]


def _number(text: str | None) -> float | None:
    """The weight, or None for what only looks like one, such as ``1.2.3``."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _with_breaks(text: str) -> list[Segment]:
    out: list[Segment] = []
    for index, part in enumerate(_BREAK.split(text)):
        if index:
            out.append(BREAK)
        out.append((part, 1.0))
    return out


def _merged(segments: Iterable[Segment]) -> list[Segment]:
    """Runs of equal weight joined, empty ones dropped."""
    out: list[Segment] = []
    for text, weight in segments:
        if (text, weight) == BREAK:
            out.append(BREAK)
        elif out and out[-1] != BREAK and out[-1][1] == weight:
            out[-1] = (out[-1][0] + text, weight)
        elif text:
            out.append((text, weight))
    return out

"""Weights in a prompt: ``(x)``, ``[x]``, ``(x:1.3)``, nesting, escapes, ``BREAK``. The web UI's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Stands between segments where the text asks for a new chunk of tokens.
BREAK = ("BREAK", -1.0)
#: What each bracket multiplies the weights within it by.
_FACTORS = {"(": 1.1, "[": 1 / 1.1}
_PARTNERS = {")": "(", "]": "["}

_TOKEN = re.compile(
    r"(?P<escape>\\[()\[\]\\]?)|\(|\[|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|\)|\]|(?P<plain>[^\\()\[\]:]+)|:"
)
_BREAK = re.compile(r"\bBREAK\b")

Segment = tuple[str, float]


def parse_attention(text: str) -> list[Segment]:
    """Split a text into runs of equal weight; brackets that are not closed end with the text.

    A backslash makes a bracket or a backslash a letter; before anything else it is dropped. A ``BREAK`` within
    brackets still is one: unlike the web UI, which multiplies its -1 too and so reads it as a word.

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
    reader = _Reader()
    for match in _TOKEN.finditer(text):
        reader.take(match)
    return _merged(reader.finished() or [("", 1.0)])


def unmatched(text: str) -> list[int]:
    """Where brackets stand that close nothing, or are never closed and so count to the text's end.

    >>> unmatched("a (red:1.3) [cat]"), unmatched("((a) b]"), unmatched("smile :)"), unmatched(r"smile :\\)")
    ([], [0, 6], [7], [])
    """
    opened: dict[str, list[int]] = {"(": [], "[": []}
    found: list[int] = []
    for match in _TOKEN.finditer(text):
        token, weight = match.group(), _number(match["weight"])
        if token in opened:
            opened[token].append(match.start())
            continue
        bracket = "(" if weight is not None else _PARTNERS.get(token)
        if bracket is None:
            continue
        if opened[bracket]:
            opened[bracket].pop()
        else:
            found.append(match.end() - 1)
    return sorted([*found, *opened["("], *opened["["]])


class _Reader:
    """The segments so far, and for each bracket that is still open the segment that it began before."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._opened: dict[str, list[int]] = {"(": [], "[": []}

    def take(self, match: re.Match[str]) -> None:
        """Read one token of ``_TOKEN``; a closing one without its opening one is a letter like any other."""
        token = match.group()
        if match["escape"] is not None:
            self._segments.append((token[1:], 1.0))
        elif token in self._opened:
            self._opened[token].append(len(self._segments))
        elif not self._closes(token, _number(match["weight"])):
            self._segments += _with_breaks(token)

    def finished(self) -> list[Segment]:
        """All segments, after the brackets that were never closed."""
        for bracket, factor in _FACTORS.items():
            for first in self._opened[bracket]:
                self._multiply(first, factor)
        return self._segments

    def _closes(self, token: str, weight: float | None) -> bool:
        bracket = "(" if weight is not None else _PARTNERS.get(token)
        if bracket is None or not self._opened[bracket]:
            return False
        self._multiply(self._opened[bracket].pop(), _FACTORS[bracket] if weight is None else weight)
        return True

    def _multiply(self, first: int, factor: float) -> None:
        for index in range(first, len(self._segments)):
            if self._segments[index] != BREAK:
                self._segments[index] = (self._segments[index][0], self._segments[index][1] * factor)


def _number(text: str | None) -> float | None:
    """The weight, or None for what only looks like one, such as ``1.2.3``."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _with_breaks(text: str) -> list[Segment]:
    """The text as segments, parted at each ``BREAK``, which takes the white space around it along."""
    first, *others = _BREAK.split(text)
    out: list[Segment] = [(first.rstrip() if others else first, 1.0)]
    for index, part in enumerate(others, start=1):
        part = part.lstrip()
        out += [BREAK, (part.rstrip() if index < len(others) else part, 1.0)]
    return out


def _merged(segments: Iterable[Segment]) -> list[Segment]:
    """Runs of equal weight joined; a break joins nothing."""
    out: list[Segment] = []
    for text, weight in segments:
        if out and BREAK not in (out[-1], (text, weight)) and out[-1][1] == weight:
            out[-1] = (out[-1][0] + text, weight)
        else:
            out.append((text, weight))
    return out

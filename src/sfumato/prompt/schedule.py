"""Prompts that change while a picture is made: ``[from:to:when]``, ``[a|b]``. The web UI's rules.

The text is read once with a stack of open brackets. A bracket that finds its partner is a group; one that does not
is a letter like any other. So nothing is ever a syntax error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_PIECE = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")


@dataclass
class _Group:
    """An open bracket and what has come since: texts and groups; ``:`` and ``|`` stay single items."""

    bracket: str
    items: list[str | _Scheduled | _Alternate | _Group] = field(default_factory=list)


@dataclass
class _Scheduled:
    before: list[_Item]
    after: list[_Item]
    when: str


@dataclass
class _Alternate:
    options: list[list[_Item]]


_Item = str | _Scheduled | _Alternate | _Group
_CLOSED = {")": "(", "]": "["}


def schedule(text: str, steps: int, hires_steps: int | None = None) -> list[tuple[int, str]]:
    """The texts over the steps: ``(last step, text)`` pairs, steps counted from 1, the last pair at the last step.

    A ``when`` with a point is a share of the steps, one without is a step. With ``hires_steps`` the result is for
    the second pass of that many steps, to which shares from 1 to 2 and steps beyond ``steps`` belong.

    >>> schedule("a [b:3]", 10)
    [(3, 'a '), (10, 'a b')]
    >>> schedule("a[b:[c:d:2]:1]e", 10)
    [(1, 'abe'), (2, 'ace'), (10, 'ade')]
    >>> schedule("[fe|]male", 3)
    [(1, 'female'), (2, 'male'), (3, 'female')]
    >>> schedule("a [b:1.5] c", 10, hires_steps=10)
    [(5, 'a  c'), (10, 'a b c')]
    """
    items = _parse(text)
    total = steps if hires_steps is None else hires_steps
    share_offset, step_offset = (0.0, 0) if hires_steps is None else (1.0, steps)

    def at(when: str) -> int:
        value = (float(when) - share_offset) * total if "." in when else float(when) - step_offset
        return int(max(-1.0, min(float(total), value)))

    ends = {total}
    for item in _walk(items):
        if isinstance(item, _Scheduled):
            ends.add(at(item.when))
        else:
            ends.update(range(1, total + 1))
    return [(end, _text_at(items, end, at)) for end in sorted(e for e in ends if e >= 1)]


def _parse(text: str) -> list[_Item]:
    stack = [_Group("")]
    for piece in _PIECE.findall(text):
        if piece in "([":
            stack.append(_Group(piece))
        elif piece in _CLOSED and stack[-1].bracket == _CLOSED[piece]:
            group = stack.pop()
            stack[-1].items += _closed(group, piece)
        else:
            stack[-1].items.append(piece)
    while len(stack) > 1:
        group = stack.pop()
        stack[-1].items += [group.bracket, *group.items]
    return stack[0].items


def _closed(group: _Group, bracket: str) -> list[_Item]:
    """What a pair of brackets means: a schedule, alternatives, or itself."""
    plain: list[_Item] = [_Group("", [group.bracket, *group.items, bracket])]
    if group.bracket == "(":
        return plain
    colons, bars = _split(group.items, ":"), _split(group.items, "|")
    if len(bars) > 1 and len(colons) == 1:
        return [_Alternate(bars)]
    if len(bars) == 1 and len(colons) in (2, 3):
        when = colons[-1]
        number = _NUMBER.fullmatch("".join(when)) if all(isinstance(i, str) for i in when) else None  # pyright: ignore[reportCallIssue, reportArgumentType]
        if number:
            return [_Scheduled(colons[0] if len(colons) == 3 else [], colons[-2], number[1])]
    return plain


def _split(items: list[_Item], mark: str) -> list[list[_Item]]:
    parts: list[list[_Item]] = [[]]
    for item in items:
        if item == mark:
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def _walk(items: list[_Item]) -> Iterator[_Scheduled | _Alternate]:
    for item in items:
        if isinstance(item, _Scheduled):
            yield item
            yield from _walk(item.before)
            yield from _walk(item.after)
        elif isinstance(item, _Alternate):
            yield item
            for option in item.options:
                yield from _walk(option)
        elif isinstance(item, _Group):
            yield from _walk(item.items)


def _text_at(items: list[_Item], step: int, at: Callable[[str], int]) -> str:
    out = []
    for item in items:
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item, _Scheduled):
            out.append(_text_at(item.before if step <= at(item.when) else item.after, step, at))
        elif isinstance(item, _Alternate):
            out.append(_text_at(item.options[(step - 1) % len(item.options)], step, at))
        else:
            out.append(_text_at(item.items, step, at))
    return "".join(out)

"""Prompts that change while a picture is made: ``[from:to:when]``, ``[a|b]``. The web UI's rules.

The text is read once with a stack of open brackets. A bracket that finds its partner is a group; one that does not
is a letter like any other. A bar that parts no alternatives, or a backslash with nothing after it, makes the whole text
literal: it is then what it says at every step. So nothing is ever a syntax error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

_PIECE = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\")
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
#: What is left of these after reading makes the whole text literal, as the web UI has it.
_ERRORS = {"|", "\\"}


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
    total = steps if hires_steps is None else hires_steps
    items = _parse(text)
    if any(isinstance(item, str) and item in _ERRORS for item in _walk(items)):
        return [(total, text)]
    share_offset, step_offset = (0.0, 0) if hires_steps is None else (1.0, steps)

    def at(when: str) -> int:
        value = (float(when) - share_offset) * total if "." in when else float(when) - step_offset
        return int(max(-1.0, min(float(total), value)))

    ends = {total}
    for item in _walk(items):
        if isinstance(item, _Scheduled):
            ends.add(at(item.when))
        elif isinstance(item, _Alternate):
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
    for unclosed in stack[1:]:
        stack[0].items += [unclosed.bracket, *unclosed.items]
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


def _walk(items: list[_Item]) -> Iterator[_Item]:
    """All items, in no order, however deep they lie."""
    todo = [*items]
    while todo:
        item = todo.pop()
        yield item
        if isinstance(item, _Scheduled):
            todo += [*item.before, *item.after]
        elif isinstance(item, _Alternate):
            todo += chain.from_iterable(item.options)
        elif isinstance(item, _Group):
            todo += item.items


def _text_at(items: list[_Item], step: int, at: Callable[[str], int]) -> str:
    out: list[str] = []
    todo = items[::-1]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item, _Scheduled):
            todo += reversed(item.before if step <= at(item.when) else item.after)
        elif isinstance(item, _Alternate):
            todo += reversed(item.options[(step - 1) % len(item.options)])
        else:
            todo += reversed(item.items)
    return "".join(out)

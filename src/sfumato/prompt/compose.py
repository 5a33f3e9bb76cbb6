"""A whole prompt: its ``AND`` parts with their weights, each with its texts over the steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sfumato.prompt.attention import Segment, parse_attention
from sfumato.prompt.schedule import schedule

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*")


@dataclass(frozen=True)
class Span:
    """The weighted text that holds for steps, counted from 0, below ``until``."""

    until: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Part:
    """One ``AND`` part: its weight and its spans, in order; the last one reaches the last step."""

    weight: float
    spans: tuple[Span, ...]

    def at(self, step: int) -> tuple[Segment, ...]:
        """The weighted text for a step, counted from 0."""
        return next((s.segments for s in self.spans if step < s.until), self.spans[-1].segments)


@dataclass(frozen=True)
class PromptPlan:
    """All parts of a prompt, at least one."""

    parts: tuple[Part, ...]


def split_and(text: str) -> list[tuple[str, float]]:
    """The texts between ``AND`` with their weights, 1 where none is given.

    >>> split_and("a cat :1.2 AND a dog AND a penguin :2.2")
    [('a cat', 1.2), (' a dog', 1.0), (' a penguin', 2.2)]
    """
    return [_weighted(part) for part in _AND.split(text)]


def _weighted(part: str) -> tuple[str, float]:
    body, colon, tail = part.rpartition(":")
    weight = _WEIGHT.fullmatch(tail) if colon else None
    return (part.rstrip(), 1.0) if weight is None else (body.rstrip(), float(weight[1]))


def plan(prompt: str, steps: int, hires_steps: int | None = None) -> PromptPlan:
    """Everything that a prompt says, for so many steps; or for a second pass of ``hires_steps`` after them.

    >>> plan("a [cat:dog:1] AND (sky:1.2)", 2).parts[0].at(1)
    (('a dog', 1.0),)
    """
    return PromptPlan(tuple(Part(weight, _spans(text, steps, hires_steps)) for text, weight in split_and(prompt)))


def plan_negative(prompt: str, steps: int, hires_steps: int | None = None) -> Part:
    """A negative prompt has weights and a schedule of its own, and no ``AND``."""
    return Part(1.0, _spans(prompt, steps, hires_steps))


def _spans(text: str, steps: int, hires_steps: int | None) -> tuple[Span, ...]:
    return tuple(Span(until, tuple(parse_attention(part))) for until, part in schedule(text, steps, hires_steps))

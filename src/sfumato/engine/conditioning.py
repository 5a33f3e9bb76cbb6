"""Prompts to tensors: what each step is conditioned on, with every text encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from sfumato.families.base import Encoding
from sfumato.prompt.compose import Part

Segments = tuple[tuple[str, float], ...]
#: Weighted text, clip skip, and whether it says what is not wanted.
Encode = Callable[[Segments, int, bool], Encoding]


class EncodingCache:
    """The last texts' encodings; a text that comes again is not encoded again.

    ``reading`` says how texts are read at the moment (what is on the text encoder, which words it knows): encodings
    are used again only while it is the same.
    """

    def __init__(self, encode: Encode, size: int = 64, reading: Callable[[], Hashable] = tuple) -> None:
        self._encode, self._size, self._reading = encode, size, reading
        self._kept: OrderedDict[Hashable, Encoding] = OrderedDict()

    def __call__(self, segments: Segments, clip_skip: int, negative: bool = False) -> Encoding:
        """The weighted text, encoded."""
        key = (segments, clip_skip, negative, self._reading())
        if key not in self._kept:
            self._kept[key] = self._encode(segments, clip_skip, negative)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


@dataclass(frozen=True)
class Track:
    """One prompt's encodings over the steps: ``spans`` of (first step it no longer holds for, encoding)."""

    weight: float
    spans: tuple[tuple[int, Encoding], ...]

    def at(self, step: int) -> Encoding:
        """The encoding for a step, counted from 0."""
        for until, encoding in self.spans:
            if step < until:
                return encoding
        return self.spans[-1][1]


def track(part: Part, cache: EncodingCache, clip_skip: int, negative: bool = False) -> Track:
    """Encode all that a part of a prompt says, each text once."""
    return Track(part.weight, tuple((span.until, cache(span.segments, clip_skip, negative)) for span in part.spans))


@dataclass(frozen=True)
class Conditioning:
    """The positive tracks (one, or one for each ``AND`` part) and the negative one; None means no guidance."""

    positive: tuple[Track, ...]
    negative: Track | None

    def groups(self, step: int) -> list[tuple[list[int], Encoding]]:
        """The step's encodings, those of equal length stacked: (which, encoding of G texts). 0 is the negative one.

        Encodings of one length go through the network as one batch.
        """
        rows = [] if self.negative is None else [(0, self.negative.at(step))]
        rows += [(k, track.at(step)) for k, track in enumerate(self.positive, start=1)]
        by_length: dict[int, list[tuple[int, Encoding]]] = {}
        for row in rows:
            by_length.setdefault(row[1].context.shape[1], []).append(row)
        return [([k for k, _ in group], Encoding.stacked([e for _, e in group])) for group in by_length.values()]

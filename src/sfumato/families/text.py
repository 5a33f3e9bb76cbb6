"""Weighted text to conditioning: chunks of 75 tokens, emphasis, clip skip. The web UI's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.families.base import Encoding, Networks, Segments
from sfumato.families.embeddings import Embeddings
from sfumato.families.tokens import ClipTokenizer

CHUNK = 75
#: How far back a comma may be for the text after it to move to the next chunk as a whole.
COMMA_BACKTRACK = 20
BREAK = ("BREAK", -1.0)


@dataclass
class Chunk:
    """Up to 75 token ids and their weights."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def chunks_of(
    tokenizer: ClipTokenizer, segments: Sequence[tuple[str, float]], embeddings: Embeddings | None = None
) -> list[Chunk]:
    """Lay the text out in chunks, at least one. A chunk that overflows soon after a comma breaks at the comma.

    The vectors of one of the ``embeddings`` stay in one chunk.
    """
    embeddings = embeddings or Embeddings()
    done: list[Chunk] = []
    chunk, comma = Chunk(), -1
    for segment in segments:
        if segment == BREAK:
            done.append(chunk)
            chunk, comma = Chunk(), -1
            continue
        for group in embeddings.groups(tokenizer, segment[0]):
            if group == (tokenizer.comma,):
                comma = len(chunk.ids)
            elif len(chunk.ids) == CHUNK and comma != -1 and CHUNK - comma <= COMMA_BACKTRACK:
                at = comma + 1
                done.append(Chunk(chunk.ids[:at], chunk.weights[:at]))
                chunk, comma = Chunk(chunk.ids[at:], chunk.weights[at:]), -1
            if len(chunk.ids) + len(group) > CHUNK:
                done.append(chunk)
                chunk, comma = Chunk(), -1
            chunk.ids += group
            chunk.weights += [segment[1]] * len(group)
    if chunk.ids or not done:
        done.append(chunk)
    return done


def count_tokens(tokenizer: ClipTokenizer, segments: Sequence[tuple[str, float]]) -> int:
    """How many tokens the text has, chunk ends not counted."""
    return sum(len(chunk.ids) for chunk in chunks_of(tokenizer, segments))


@dataclass
class ClipReader:
    """CLIP's text encoder with its tokenizer.

    Attributes:
        layer: which layer's states are taken, 1 for the last, n for the n-th from the end.
        normed: whether the final norm is applied to them.
        skips: whether ``clip_skip`` has a say; where it has not, it does nothing.
        key: what files of words for several text encoders call this one's.
    """

    tokenizer: ClipTokenizer
    network: Any
    name: str = "text_encoder"
    layer: int = 1
    normed: bool = True
    skips: bool = True
    key: str = ""
    embeddings: Embeddings = field(default_factory=Embeddings)

    def know(self, words: Mapping[str, Path]) -> None:
        """Have these embeddings at hand, and no others."""
        self.embeddings.know(words, self.network.config.hidden_size, self.key)

    def read(self, segments: Segments, clip_skip: int, device: torch.device) -> Encoding:
        """Weighted text to (1, 77 k, D) in the text encoder's type, for k chunks; with a projection also pooled (1, P).

        The text as a whole is that of its first chunk, without weights, as the web UI has it.

        Raises:
            RequestError: the text encoder has fewer layers than ``clip_skip``.
        """
        tokenizer = self.tokenizer
        chunks = chunks_of(tokenizer, segments, self.embeddings)
        ids = torch.full((len(chunks), CHUNK + 2), tokenizer.pad, dtype=torch.long)
        weights = torch.ones(len(chunks), CHUNK + 2)
        ids[:, 0] = tokenizer.bos
        for row, chunk in enumerate(chunks):
            ids[row, 1 : 2 + len(chunk.ids)] = torch.tensor([*chunk.ids, tokenizer.eos], dtype=torch.long)
            weights[row, 1 : 1 + len(chunk.ids)] = torch.tensor(chunk.weights)
        with self.embeddings.injected(self.network, ids.to(device)) as plain:
            states, pooled = self._states(plain, clip_skip if self.skips else self.layer)
        context = emphasize(states, weights.to(device)).reshape(1, -1, states.shape[-1])
        return Encoding(context, None if pooled is None else pooled[:1])

    def _states(self, ids: Tensor, layer: int) -> tuple[Tensor, Tensor | None]:
        model = self.network
        if layer == 1 and self.normed:
            out = model(input_ids=ids)
            return out.last_hidden_state, getattr(out, "text_embeds", None)
        layers = model.config.num_hidden_layers
        if layer > layers:
            raise RequestError(f"clip_skip is {layer}, but this text encoder has {layers} layers; give 1 to {layers}")
        out = model(input_ids=ids, output_hidden_states=True)
        hidden = out.hidden_states[-layer]
        inner = getattr(model, "text_model", model)
        return inner.final_layer_norm(hidden) if self.normed else hidden, getattr(out, "text_embeds", None)


def read(networks: Networks, segments: Segments, clip_skip: int = 1, negative: bool = False) -> Encoding:
    """Weighted text as the networks take it, in the text encoders' type; the context is (1, 77 k, D) for k chunks.

    Args:
        segments: texts with weights; ``("BREAK", -1.0)`` ends a chunk.
        clip_skip: 1 takes the last layer, n the n-th from the end; the final norm is applied either way.
        negative: it says what is not wanted.

    Raises:
        RequestError: the text encoder has fewer layers than ``clip_skip``.
    """
    readings = [reader.read(segments, clip_skip, networks.device) for reader in networks.readers]
    empty = not any(text.strip() for text, _ in segments)
    return networks.conditioner.join(readings, negative=negative, empty=empty)


def emphasize(states: Tensor, weights: Tensor) -> Tensor:
    """(k, 77, D) times (k, 77), each chunk's mean kept as it was: the web UI's "Original".

    A chunk whose mean is zero but for rounding (a last norm without a bias makes it so) has nothing to keep.
    """
    if bool((weights == 1).all()):
        return states
    wide = states.float()
    weighted = wide * weights[..., None]
    old, new = (x.mean((1, 2), keepdim=True) for x in (wide, weighted))
    rounding = torch.finfo(wide.dtype).eps * weighted.abs().mean((1, 2), keepdim=True)
    ratio = torch.where(new.abs() > 100 * rounding, old / new, 1.0)
    return (weighted * ratio).to(states.dtype)

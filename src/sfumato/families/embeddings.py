"""Textual inversion (Gal et al. 2022): words of one's own, whose vectors stand where the word's tokens would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.source import TensorSource

#: Vectors have numbers from here on, above every vocabulary.
FIRST = 1 << 24


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def ids(self, text: str) -> list[int]: ...


@dataclass
class Embeddings:
    """Words by name, each with its vectors (k, D). Names are found in a text by their tokens, the longest first."""

    vectors: dict[str, Tensor] = field(default_factory=dict)

    def groups(self, tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, ...]]:
        """The text's tokens one by one, and in the place of each word of one's own the numbers of its vectors."""
        ids = tokenizer.ids(text)
        if not self.vectors:
            yield from ((token,) for token in ids)
            return
        names = sorted(((tokenizer.ids(name), row) for row, name in enumerate(self.vectors)), key=lambda n: -len(n[0]))
        numbers = self._numbers()
        place = 0
        while place < len(ids):
            found = next(((n, row) for n, row in names if n and ids[place : place + len(n)] == n), None)
            yield numbers[found[1]] if found else (ids[place],)
            place += len(found[0]) if found else 1

    def _numbers(self) -> list[tuple[int, ...]]:
        out, first = [], FIRST
        for vectors in self.vectors.values():
            out.append(tuple(range(first, first + len(vectors))))
            first += len(vectors)
        return out

    @contextmanager
    def injected(self, model: Any, ids: Tensor) -> Iterator[Tensor]:
        """Inside, the text encoder finds the vectors where ``ids`` (B, T) has their numbers; gives plain ids for it."""
        own = ids >= FIRST
        if not bool(own.any()):
            yield ids
            return
        table = torch.cat(list(self.vectors.values()))
        rows = (ids[own] - FIRST).to(table.device)

        def replace(module: Any, inputs: Any, output: Tensor) -> Tensor:
            return output.masked_scatter(own[..., None], table[rows].to(output))

        layer = next(m for name, m in model.named_modules() if name.endswith("token_embedding"))
        handle = layer.register_forward_hook(replace)
        try:
            yield ids.masked_fill(own, 0)
        finally:
            handle.remove()

    def use(self, wanted: dict[str, Path], width: int) -> bool:
        """Have exactly these words; says whether that is a change.

        Raises:
            CheckpointError: a file is no embedding, or of vectors that are not ``width`` numbers long.
        """
        if wanted.keys() == self.vectors.keys():
            return False
        kept = self.vectors
        self.vectors = {n: kept[n] if n in kept else read_embedding(path, width) for n, path in wanted.items()}
        return True


def read_embedding(path: Path, width: int) -> Tensor:
    """The vectors (k, D) of a ``.safetensors`` file: ``emb_params`` as web UIs write, or the one tensor that it has.

    Raises:
        CheckpointError: it has other tensors, or vectors for another model.
    """
    source = TensorSource(path)
    names = source.names()
    name = "emb_params" if "emb_params" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise CheckpointError(f"{path}: is no embedding: it has {', '.join(names[:3])} and not emb_params")
    vectors = source.get(name).float()
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise CheckpointError(
            f"{path}: its vectors are {vectors.shape[-1]} numbers long and this model's are {width}; "
            "it was made for another family"
        )
    return vectors


def mentioned(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Those of the names that occur in a text, in any case."""
    whole = "\n".join(texts).casefold()
    return [name for name in names if name.casefold() in whole]

"""Textual inversion (Gal et al. 2022): words of one's own, whose vectors stand where the word's tokens would."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.digest import stamp
from sfumato.weights.source import TensorSource

#: Vectors have numbers from here on, above every vocabulary.
FIRST = 1 << 24
#: What files with vectors for several text encoders call them.
_SEVERAL = ("clip_l", "clip_g")
#: As many as the text encoder reads at a time.
MOST = 75


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def ids(self, text: str) -> list[int]: ...


@dataclass
class Embeddings:
    """Words by name, each with its vectors (k, D). Names are found in a text by their tokens, the longest first.

    Of the words that are only known as files, vectors are read when a text first has them.
    """

    vectors: dict[str, Tensor] = field(default_factory=dict)
    _files: dict[str, Path] = field(default_factory=dict)
    _width: int = 0
    _key: str = ""
    #: Every word's file as it was when it became known: another when a word's meaning is.
    known: tuple[Hashable, ...] = ()

    def know(self, files: Mapping[str, Path], width: int, key: str = "") -> None:
        """Know exactly these words, with vectors that are ``width`` numbers long. Changed files are read anew.

        Args:
            key: what files with vectors for several text encoders call this one's.
        """
        known = tuple((name, stamp(path)) for name, path in files.items())
        if known == self.known:
            return
        same = {name for name, _ in set(known) & set(self.known)}
        self.vectors = {name: vectors for name, vectors in self.vectors.items() if name in same}
        self._files, self._width, self._key, self.known = dict(files), width, key, known

    def groups(self, tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, ...]]:
        """The text's tokens one by one, and in the place of each word of one's own the numbers of its vectors.

        Raises:
            CheckpointError: a word's file is no embedding, or one for another model.
        """
        ids = tokenizer.ids(text)
        names = [(tokenizer.ids(name), name) for name in (self._files or self.vectors)]
        names.sort(key=lambda one: -len(one[0]))
        place = 0
        while place < len(ids):
            found = next(((n, name) for n, name in names if n and ids[place : place + len(n)] == n), None)
            yield self._numbers(found[1]) if found else (ids[place],)
            place += len(found[0]) if found else 1

    def _numbers(self, word: str) -> tuple[int, ...]:
        if word not in self.vectors:
            self.vectors[word] = read_embedding(self._files[word], self._width, self._key)
        before = list(self.vectors).index(word)
        first = FIRST + sum(len(vectors) for vectors in list(self.vectors.values())[:before])
        return tuple(range(first, first + len(self.vectors[word])))

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


def read_embedding(path: Path, width: int, key: str = "") -> Tensor:
    """The vectors (k, D) of a ``.safetensors`` file: ``emb_params`` as web UIs write, or the one tensor that it has.

    Args:
        key: the tensor's name in files with vectors for several text encoders, such as ``clip_g``.

    Raises:
        CheckpointError: it has other tensors, vectors for another model, or too many of them.
    """
    source = TensorSource(path)
    names = source.names()
    name = key if key in names else "emb_params" if "emb_params" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise CheckpointError(f"{path}: is no embedding: it has {', '.join(names[:3])} and not emb_params")
    if len({source.header.tensors[n].shape[:1] for n in _SEVERAL if n in names}) > 1:
        raise CheckpointError(f"{path}: is no embedding: it has more vectors for one text encoder than for another")
    vectors = source.get(name).float()
    vectors = vectors[None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or not 1 <= len(vectors) <= MOST:
        raise CheckpointError(f"{path}: is no embedding: {name} is {tuple(vectors.shape)} and not 1 to {MOST} vectors")
    if vectors.shape[1] != width:
        raise CheckpointError(
            f"{path}: its vectors are {vectors.shape[1]} numbers long and this model's are {width}; "
            "it was made for another family"
        )
    return vectors

"""T5's tokens, from the vocabulary in this package or from a model's own; the work is done by ``tokenizers``."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from sfumato.errors import CheckpointError

if TYPE_CHECKING:
    from sfumato.weights.packed_folder import Folder

#: The published SentencePiece model of T5 (Raffel et al. 2020), Apache-2.0: see the licence beside it.
_VOCABULARY = Path(__file__).parent / "data" / "t5_spiece.model"
#: Tokens that follow the pieces, for training alone.
_EXTRA = 100
#: Of SentencePiece's ``ModelProto``: the fields that say what a text becomes, and the wire types that fields have.
_PIECES, _NORMALIZER, _CHARACTERS = 1, 3, 2
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class T5Tokenizer:
    """Text to token ids, those of transformers' T5Tokenizer.

    ``eos`` and ``pad`` are the ids that end and fill a text; ``size`` is one more than the greatest id; ``comma`` is
    -1: no text is broken at one.
    """

    comma = -1

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises KeyError for one that has no end or nothing to fill with."""
        self._tokenizer = tokenizer
        found = {word: tokenizer.token_to_id(word) for word in ("</s>", "<pad>")}
        known = {word: number for word, number in found.items() if number is not None}
        self.eos, self.pad = known["</s>"], known["<pad>"]
        self.size = tokenizer.get_vocab_size()

    def ids(self, text: str) -> list[int]:
        """The ids of a text, without its end.

        >>> t5().ids("a red apple")
        [3, 9, 1131, 8947]
        """
        return self._tokenizer.encode(text, add_special_tokens=False).ids


@functools.cache
def t5() -> T5Tokenizer:
    """The published vocabulary: 32,000 pieces, and 100 more that no text has."""
    return T5Tokenizer(_of_pieces(_VOCABULARY.read_bytes()))


def from_folder(folder: Folder) -> T5Tokenizer:
    """A model's own ``tokenizer.json`` or ``spiece.model``; else T5's.

    Raises:
        CheckpointError: the file is damaged.
    """
    for name in ("tokenizer.json", "spiece.model"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            with file.open("rb") as opened:
                content = opened.read()
            return T5Tokenizer(Tokenizer.from_buffer(content) if name.endswith(".json") else _of_pieces(content))
        except Exception as error:  # what tokenizers raises has no narrower base
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"{file}: can't be read ({reason}); copy or download it again") from error
    return t5()


def _of_pieces(content: bytes) -> Tokenizer:
    """A SentencePiece unigram model, as transformers converts it.

    Raises:
        ValueError, TypeError, IndexError, KeyError, struct.error: it is damaged.
    """
    pieces: list[tuple[str, float]] = []
    characters = b""
    for number, value in _fields(content):
        if number == _PIECES and isinstance(value, bytes):
            fields = _texts(value)
            pieces.append((fields[1].decode(), struct.unpack("<f", fields.get(2) or bytes(4))[0]))
        elif number == _NORMALIZER and isinstance(value, bytes):
            characters = _texts(value).get(_CHARACTERS, b"")
    pieces += [(f"<extra_id_{k}>", 0.0) for k in reversed(range(_EXTRA))]
    names = [name for name, _ in pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, names.index("<unk>"), byte_fallback=False))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *names[-_EXTRA:]])
    spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    first = [normalizers.Precompiled(characters)] if characters else []
    tokenizer.normalizer = normalizers.Sequence([*first, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer


def _texts(message: bytes) -> dict[int, bytes]:
    """Those fields of a message that are no numbers."""
    return {number: value for number, value in _fields(message) if isinstance(value, bytes)}


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protocol buffers message: number and value, in their order."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire not in (_EIGHT, _BYTES, _FOUR):
            raise ValueError(f"a field of type {wire} at byte {at}")
        length, at = _varint(message, at) if wire == _BYTES else (8 if wire == _EIGHT else 4, at)
        if at + length > len(message):
            raise ValueError(f"it ends at byte {len(message)} inside a field")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where what follows it begins."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at

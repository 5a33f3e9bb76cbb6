"""CLIP's tokens, from the vocabulary in this package or from a model's own; the work is done by ``tokenizers``."""

from __future__ import annotations

import functools
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from sfumato.errors import CheckpointError

if TYPE_CHECKING:
    from sfumato.weights.packed_folder import Folder

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
#: Of the published list, the merges that CLIP's 49,408 tokens use: 49152 - 256 - 2.
_CLIP_MERGES = 48894
_VOCABULARY = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
#: Contractions, words, single digits, runs of anything else.
_PIECES = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


@dataclass(frozen=True)
class Special:
    """The tokens that begin and end a text and fill its rest."""

    bos: str = BOS
    eos: str = EOS
    pad: str = EOS


class ClipTokenizer:
    """Text to token ids, the ids of transformers' CLIPTokenizer.

    ``bos``, ``eos`` and ``pad`` are the ids that begin, end and fill a text; ``comma`` is -1 if there is none;
    ``size`` is one more than the greatest id.
    """

    def __init__(
        self, vocabulary: dict[str, int], merges: list[tuple[str, str]], special: Special | None = None
    ) -> None:
        special = special or Special()
        model = models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=special.eos,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
        self._tokenizer = Tokenizer(model)
        self._tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._tokenizer.add_special_tokens([special.bos, special.eos])
        self.bos, self.eos, self.pad = (vocabulary[token] for token in (special.bos, special.eos, special.pad))
        self.comma = vocabulary.get(",</w>", -1)
        self.size = max(vocabulary.values()) + 1

    def ids(self, text: str) -> list[int]:
        """The ids of a text, without start and end.

        >>> clip().ids("a red apple")
        [320, 736, 3055]
        """
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def save(self, folder: Path) -> None:
        """Write ``vocab.json`` and ``merges.txt`` into a folder that is there, as :func:`from_folder` reads them."""
        self._tokenizer.model.save(str(folder))


def clip(pad: str = EOS) -> ClipTokenizer:
    """OpenAI's CLIP vocabulary: 512 byte symbols, 48,894 merges, start and end.

    Args:
        pad: what fills a text; OpenCLIP's models have ``"!"``, whose id is 0.
    """
    return _clip(pad)


@functools.cache
def _clip(pad: str) -> ClipTokenizer:
    lines = gzip.decompress(_VOCABULARY.read_bytes()).decode().split("\n")
    merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines[1 : _CLIP_MERGES + 1])]
    letters = _byte_symbols()
    tokens = [*letters, *(s + "</w>" for s in letters), *(a + b for a, b in merges), BOS, EOS]
    return ClipTokenizer({token: index for index, token in enumerate(tokens)}, merges, Special(pad=pad))


def from_folder(folder: Folder, pad: str = EOS) -> ClipTokenizer:
    """A model's own ``vocab.json`` and ``merges.txt``, or the same two inside its ``tokenizer.json``; else CLIP's.

    Args:
        pad: what fills a text where the folder has no vocabulary.

    Raises:
        CheckpointError: the files are damaged or do not belong together.
    """
    whole = folder / "tokenizer.json"
    try:
        if (folder / "vocab.json").is_file():
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
            merges = [line.split() for line in lines if line and not line.startswith("#version")]
        elif whole.is_file():
            model = json.loads(whole.read_text(encoding="utf-8"))["model"]
            vocabulary = model["vocab"]
            merges = [m.split() if isinstance(m, str) else m for m in model["merges"]]
        else:
            return clip(pad)
        pairs = [(a, b) for a, b in merges]
        if unknown := {piece for a, b in pairs for piece in (a, b, a + b)} - vocabulary.keys():
            raise ValueError(f"{len(unknown)} pieces of merges are not in the vocabulary")
        return ClipTokenizer(vocabulary, pairs, _special(folder))
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(f"{folder}: the tokenizer's files can't be read ({error})") from error


def _special(folder: Folder) -> Special:
    """The tokens that ``tokenizer_config.json`` or ``special_tokens_map.json`` names; CLIP's where neither does."""
    named = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            named |= json.loads((folder / file).read_text(encoding="utf-8"))
    words = {}
    for role in ("bos", "eos", "pad"):
        token = named.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            words[role] = token
    return Special(**{"pad": words.get("eos", EOS)} | words)


def _byte_symbols() -> list[str]:
    """A printable character for each byte, printable bytes first: the order of CLIP's first 256 ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + k) for k in range(len(others))]

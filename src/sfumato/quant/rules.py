"""Which type each tensor of a model gets: pure, from names and shapes."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from sfumato.errors import RequestError, nearest
from sfumato.weights.header import TensorInfo

#: What can be asked for, from the smallest.
TYPES = {
    "q4_0": GGMLQuantizationType.Q4_0,
    "q4_k": GGMLQuantizationType.Q4_K,
    "q4_1": GGMLQuantizationType.Q4_1,
    "q5_0": GGMLQuantizationType.Q5_0,
    "q5_k": GGMLQuantizationType.Q5_K,
    "q5_1": GGMLQuantizationType.Q5_1,
    "q6_k": GGMLQuantizationType.Q6_K,
    "q8_0": GGMLQuantizationType.Q8_0,
    "bf16": GGMLQuantizationType.BF16,
    "f16": GGMLQuantizationType.F16,
    "f32": GGMLQuantizationType.F32,
}
#: What rows get that do not fit a type's blocks of 256, in blocks of 32: the nearest that is no worse, as in llama.cpp.
_INSTEAD = {
    GGMLQuantizationType.Q4_K: GGMLQuantizationType.Q5_0,
    GGMLQuantizationType.Q5_K: GGMLQuantizationType.Q5_1,
    GGMLQuantizationType.Q6_K: GGMLQuantizationType.Q8_0,
}
LAYOUTS = ("portable", "compact")
#: Small, and every pixel or step goes through them: kept whole.
_KEPT = ("*time_embed.*", "*time_embedding.*", "*label_emb.*", "*.input_blocks.0.0.*", "*.out.2.*", "*conv_in.*",
         "*conv_out.*", "*add_embedding.*")  # fmt: skip
#: Looked up by row and not multiplied with; stable-diffusion.cpp reads them in plain types only.
_TABLES = ("*token_embedding*", "*position_embedding*", "*embeddings.*_embedding*")
#: Rows of the compact layout's reshaped tensors; fewer numbers than a few rows are not worth it.
ROW, SMALL = 256, 1024


@dataclass(frozen=True)
class Choice:
    """A tensor's type in the file, the shape that it is stored in, and why it is not the type that was asked for."""

    type: GGMLQuantizationType
    shape: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True)
class Rule:
    """Tensors whose names fit a pattern (``*`` and ``?``) get this type."""

    pattern: str
    type: GGMLQuantizationType


def parse_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    """``pattern=type`` each.

    >>> parse_rules(["*attn2*=q8_0"])[0].pattern
    '*attn2*'

    Raises:
        RequestError: no ``=``, or a type that is unknown.
    """
    rules = []
    for text in texts:
        pattern, equals, name = text.rpartition("=")
        if not equals or not pattern:
            raise RequestError(f"--rules {text!r} is not pattern=type, as in '*attn2*=q8_0'.")
        rules.append(Rule(pattern, type_of("--rules", name)))
    return tuple(rules)


def type_of(flag: str, name: str) -> GGMLQuantizationType:
    """The type of that name. Raises RequestError for an unknown one, with the nearest."""
    if name.lower() not in TYPES:
        raise RequestError(f"{flag} {name!r} is unknown; {nearest(name, TYPES) or 'choose ' + ', '.join(TYPES)}.")
    return TYPES[name.lower()]


def choose(name: str, info: TensorInfo, wish: GGMLQuantizationType, layout: str, rules: Sequence[Rule] = ()) -> Choice:
    """A tensor's type and stored shape.

    ``portable``: two-dimensional weights in the wished type, all others plain, in their own shapes, as
    stable-diffusion.cpp loads them. ``compact``: everything with more than a thousand numbers in the wished type, in
    rows of 256 where its own rows do not fit, as ComfyUI-GGUF loads them.
    """
    shape = info.shape
    if not info.dtype.startswith(("F", "BF", "Q")):
        return Choice(GGMLQuantizationType.F32, shape, "not a weight")
    for rule in rules:
        if fnmatch.fnmatchcase(name, rule.pattern):
            return _fitted(shape, rule.type, layout, "a rule")
    if wish == GGMLQuantizationType.F32:
        return Choice(wish, shape)
    if len(shape) < 2 or math.prod(shape) <= SMALL:
        return Choice(GGMLQuantizationType.F32, shape, "small")
    if _like(name, _KEPT):
        return Choice(GGMLQuantizationType.F16, shape, "every step depends on it")
    if layout == "portable" and (len(shape) != 2 or _like(name, _TABLES)):
        return Choice(GGMLQuantizationType.F16, shape, "a convolution" if len(shape) > 2 else "a table")
    return _fitted(shape, wish, layout, "")


def _fitted(shape: tuple[int, ...], wish: GGMLQuantizationType, layout: str, reason: str) -> Choice:
    block, _ = GGML_QUANT_SIZES[wish]
    if shape and shape[-1] % block == 0:
        return Choice(wish, shape, reason)
    count = math.prod(shape)
    if layout == "compact" and count % ROW == 0:
        return Choice(wish, (count // ROW, ROW), reason)
    instead = _INSTEAD.get(wish, GGMLQuantizationType.F16)
    if shape and shape[-1] % GGML_QUANT_SIZES[instead][0]:
        instead = GGMLQuantizationType.F16
    row = f"rows of {shape[-1] if shape else 1} do not fit blocks of {block}"
    return Choice(instead, shape, f"{row}: {instead.name.lower()}")


def _like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

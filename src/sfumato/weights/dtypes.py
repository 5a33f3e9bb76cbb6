"""Number formats of model files by their names: how many bytes so many numbers take."""

from __future__ import annotations

#: Name to (numbers, bytes) of the smallest piece. safetensors' names and GGUF's are the same for what both have.
SIZES: dict[str, tuple[int, int]] = {
    "F64": (1, 8), "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "F8_E4M3": (1, 1), "F8_E5M2": (1, 1),
    "I64": (1, 8), "I32": (1, 4), "I16": (1, 2), "I8": (1, 1),
    "U64": (1, 8), "U32": (1, 4), "U16": (1, 2), "U8": (1, 1), "BOOL": (1, 1), "C64": (1, 8), "C128": (1, 16),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q8_1": (32, 40),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "Q8_K": (256, 292), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ3_XXS": (256, 98), "IQ1_S": (256, 50),
    "IQ4_NL": (32, 18), "IQ3_S": (256, 110), "IQ2_S": (256, 82), "IQ4_XS": (256, 136), "IQ1_M": (256, 56),
    "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip
#: The numbers that GGUF files have for types; those that are missing are no longer in use.
GGUF_TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20:
    "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29:
    "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip


def bytes_of(dtype: str, numbers: int) -> int:
    """Bytes of so many numbers; of a type that is not known, as of float32.

    >>> bytes_of("F16", 10), bytes_of("Q4_0", 64)
    (20, 36)
    """
    block, size = SIZES.get(dtype, (1, 4))
    return -(-numbers // block) * size


def is_float(dtype: str) -> bool:
    """Whether a weight of this type is a number with a fraction, plain or packed: counters and masks are not."""
    return dtype in SIZES and not dtype.startswith(("I1", "I3", "I6", "I8", "U", "BOOL", "C"))


def is_packed(dtype: str) -> bool:
    """Whether numbers of this type lie in blocks that share a scale."""
    return SIZES.get(dtype, (1, 4))[0] > 1

"""Which number formats to compute in, by torch's names: a pure function from a wish and a device's facts.

Imports no torch, so that a plan is made before it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sfumato.errors import DeviceError, nearest

WISHES = ("autocast", "full", "half", "bf16", "int8")


@dataclass(frozen=True)
class Formats:
    """``dtype`` for text encoder and UNet, ``vae_dtype`` for the autoencoder, and why.

    ``int8``: weights are in memory as 8-bit integers, and unpacked to these types layer by layer.
    """

    dtype: str
    vae_dtype: str
    reason: str = ""
    int8: bool = False


def choose(wish: str, kind: str, bf16: bool, fp16: bool) -> Formats:
    """The formats for ``autocast`` (half precision where the device is good at it), ``full``, ``half``, ``bf16``, or
    ``int8``, which computes as ``autocast`` does with weights of 8 bits.

    Args:
        kind: the device's. bf16, fp16: whether its products in that type are native and fast.

    Raises:
        DeviceError: the wish is unknown, or float16 was wished on a CPU, which computes it slower than float32.
    """
    if wish not in WISHES:
        choices = f"choose {', '.join(WISHES)}; {nearest(wish, WISHES)}".rstrip("; ")
        raise DeviceError(f"unknown precision {wish!r}; {choices}")
    if wish == "int8":
        plain = choose("autocast", kind, bf16, fp16)
        return replace(plain, reason=f"weights of 8 bits, as asked; {plain.reason}", int8=True)
    if wish == "full":
        return Formats("float32", "float32", "float32 as asked")
    if wish == "bf16":
        return Formats("bfloat16", "bfloat16", "bfloat16 as asked")
    if wish == "half":
        if kind == "cpu":
            raise DeviceError("float16 is slower than float32 on a CPU; use --precision bf16, full or autocast")
        return Formats("float16", "float32", "float16 as asked; float32 for the VAE, which overflows in it")
    if bf16:
        return Formats("bfloat16", "bfloat16", f"{kind} has fast bfloat16")
    if fp16 and kind != "cpu":
        return Formats("float16", "float32", f"{kind} has fast float16; the VAE overflows in it")
    return Formats("float32", "float32", f"{kind} has no fast half precision")

"""What a model's header says of the memory that drawing with it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sfumato.runtime.plan import Sizes
from sfumato.weights.detect import is_t5, of_t5, part_of
from sfumato.weights.dtypes import is_packed
from sfumato.weights.header import Header
from sfumato.weights.keymaps import ldm
from sfumato.weights.survey import any_header, folder_header

_UNET_FIRST = ("model.diffusion_model.input_blocks.0.0.weight", "unet.conv_in.weight")
_VAE_LAST = ("first_stage_model.decoder.conv_out.weight", "vae.decoder.conv_out.weight")
_LEVELS = ("first_stage_model.decoder.up.", "vae.decoder.up.", "vae.decoder.up_blocks.")


def sizes_of(path: Path, vae: Path | None = None, texts: Sequence[Path] = ()) -> Sizes:
    """The sizes of a checkpoint file or diffusers folder, with other parts if any are given, from headers alone.

    Raises:
        CheckpointError: it can't be read.
    """
    header = folder_header(path) if path.is_dir() else any_header(path)
    given: dict[str, list[Header]] = {"vae": [any_header(vae)] if vae is not None else [], "text_encoder": [], "t5": []}
    for file in texts:
        one = any_header(file)
        given["t5" if is_t5(one.tensors) else "text_encoder"].append(one)
    if not any(given.values()):
        return header_sizes(header)
    tensors = {_in_unet(name): info for name, info in header.tensors.items() if not given.get(_part_of(name))}
    for part, headers in given.items():
        for number, one in enumerate(headers):
            start = "text_encoder_3." if part == "t5" else f"{part}.{number}." if number else f"{part}."
            tensors |= {start + name.removeprefix(ldm.VAE): info for name, info in one.tensors.items()}
    return header_sizes(Header(tensors, header.metadata))


def _part_of(name: str) -> str:
    """The network that a tensor is of; T5 is one of its own, being larger than all others together."""
    return "t5" if of_t5(name) else part_of(name)


def _in_unet(name: str) -> str:
    """A name of a UNet alone as it is in a whole file."""
    bare = name.startswith(("input_blocks.", "middle_block.", "output_blocks.", "joint_blocks.", "out.", "time_embed."))
    return ldm.UNET + name if bare else name


def header_sizes(header: Header) -> Sizes:
    """Packed weights, and float16 and bfloat16 ones of a file that has packed ones, stay as they are stored."""
    whole = any(is_packed(info.dtype) for info in header.tensors.values())
    numbers: Counter[str] = Counter()
    packed: Counter[str] = Counter()
    for name, info in header.tensors.items():
        part = _part_of(name)
        if whole and len(info.shape) > 1 and info.dtype != "F32":
            packed[part] += info.bytes
        else:
            numbers[part] += info.numbers
    plain = Sizes({})
    first = next((header.tensors[name].shape[0] for name in _UNET_FIRST if name in header.tensors), plain.unet_width)
    last = next((header.tensors[name].shape[1] for name in _VAE_LAST if name in header.tensors), plain.vae_width)
    return Sizes(dict(numbers), dict(packed), first, last, _factor(header) or plain.factor)


def _factor(header: Header) -> int:
    """Pixels along a latent cell: two for each level of the decoder but the first."""
    levels = {
        name.removeprefix(start).partition(".")[0]
        for name in header.tensors
        for start in _LEVELS
        if name.startswith(start)
    }
    return 2 ** (len(levels) - 1) if levels else 0

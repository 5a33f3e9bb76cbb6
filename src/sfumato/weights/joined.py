"""A model whose networks lie in several files, as if it were one file in the LDM layout.

UNets alone (as ComfyUI-GGUF and others write them), autoencoders alone and CLIP's text encoders and T5 alone, under
LDM's, diffusers', transformers' or (T5) llama.cpp's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.blocks import Stored
from sfumato.weights.detect import LABELS, detect, is_t5
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.keymaps import clip, ldm, ldm_names, t5
from sfumato.weights.source import NamedTensors, TensorSource, open_any

#: Where a family's text encoders lie, the narrowest first: with transformers' names, and with OpenCLIP's.
_TEXTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "sd1": ((ldm.TEXT, ldm.TEXT),),
    "sd2": (("cond_stage_model.model.", "cond_stage_model.model."),),
    "sdxl": (
        ("conditioner.embedders.0.transformer.", "conditioner.embedders.0.model."),
        ("conditioner.embedders.1.transformer.", "conditioner.embedders.1.model."),
    ),
    "sdxl-refiner": (("conditioner.embedders.0.model.", "conditioner.embedders.0.model."),),
    "sd3": (
        ("text_encoders.clip_l.transformer.", "text_encoders.clip_l.transformer."),
        ("text_encoders.clip_g.transformer.", "text_encoders.clip_g.transformer."),
    ),
}
_ALL_CLIPS = ("cond_stage_model.", "conditioner.", "text_encoders.clip_")
_T5 = "text_encoders.t5xxl.transformer."
#: What an autoencoder is made of; its file may have more, as what its training compared with.
_CODER = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"(?<=attentions\.0\.)({'|'.join(_OLD_ATTENTION)})(?=\.)")
#: What a UNet's tensors' names begin with in a file that can be joined: LDM's, with its prefix and without.
UNET_NAMES = (ldm.UNET, "input_blocks.", "joint_blocks.")
_TABLE = "token_embedding.weight"


class Joined(NamedTensors):
    """Several files' tensors under one file's names.

    ``paths[0]`` is the UNet's or the whole model's; ``partial``: what is of no network may be left out.
    """

    def __init__(self, paths: tuple[Path, ...], metadata: Mapping[str, str], *, partial: bool = False) -> None:
        self.paths, self.partial = paths, partial
        self._tensors: dict[str, tuple[Any, str]] = {}
        self._infos: dict[str, TensorInfo] = {}
        self.header = Header(self._infos, metadata)

    def take(self, source: Any, names: Mapping[str, str]) -> None:
        """Have these of a source's tensors, by its names, under those that they go to."""
        for old, new in names.items():
            self._tensors[new] = source, old
            self._infos[new] = source.header.tensors[old]

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU."""
        source, old = self._known(name)
        return source.get(old)

    def stored(self, name: str) -> Stored:
        """The tensor as it lies in its file."""
        source, old = self._known(name)
        return source.stored(old)


#: What a family's loader reads: a file's path, or the weights of one or several that are open.
Checkpoint: TypeAlias = Path | NamedTensors | TensorSource


def join(main: Path, vae: Path | None = None, texts: Sequence[Path] = (), *, partial: bool = False) -> Joined:
    """A whole model or a UNet alone with another autoencoder and other text encoders.

    Raises:
        CheckpointError: a file is damaged, or no such network.
    """
    source = open_any(main)
    family = detect(source.header).family or "sd1"
    others = [path for path in (vae, *texts) if path is not None]
    joined = Joined((main, *others), source.header.metadata, partial=partial)
    opened = {path: open_any(path) for path in texts}
    thirds = [path for path in texts if is_t5(opened[path])]
    clips = [path for path in texts if path not in thirds]
    left_out = ((ldm.VAE,) if vae is not None else ()) + (_ALL_CLIPS if clips else ()) + ((_T5,) if thirds else ())
    joined.take(source, _main_names(main, source, left_out))
    if vae is not None:
        coder = open_any(vae)
        joined.take(coder, vae_names(vae, coder))
    places = _TEXTS.get(family, ())
    if clips and len(clips) != len(places):
        raise CheckpointError(
            f"{main}: {LABELS[family]} takes {len(places)} CLIP text encoders, and {len(clips)} are given; name "
            + ("one" if len(places) == 1 else f"{len(places)}, with a comma between")
        )
    if len(thirds) > (family == "sd3"):
        raise CheckpointError(f"{thirds[-1]}: is T5, and {LABELS[family]} takes {'one' if family == 'sd3' else 'none'}")
    for path in thirds:
        joined.take(opened[path], {piece.name: _T5 + new for new, piece in t5.names(opened[path]).items()})
    encoders = sorted((_text(path, opened[path]) for path in clips), key=lambda one: one[2])
    for (encoder, names, _), (plain, open_clip) in zip(encoders, places, strict=False):
        is_open = clip.is_open(encoder.header.tensors, _prefix(encoder))
        joined.take(encoder, {old: (open_clip if is_open else plain) + name for old, name in names.items()})
    return joined


def _main_names(path: Path, source: Any, left_out: tuple[str, ...]) -> dict[str, str]:
    names = [name for name in source if not name.startswith(left_out)]
    if any(name.startswith(UNET_NAMES[1:]) for name in names):
        return {name: ldm.UNET + name for name in names}
    if any(name.startswith("down_blocks.") for name in names):
        raise CheckpointError(f"{path}: a UNet alone under diffusers' names can't be joined; give its whole folder")
    return {name: name for name in names}


def vae_names(path: Path, source: Any) -> dict[str, str]:
    """An autoencoder's names in its file to LDM's.

    Raises:
        CheckpointError: it is none.
    """
    plain = {}
    for name in source:
        short = name.removeprefix(ldm.VAE).removeprefix("vae.")
        if short.startswith(_CODER):
            plain[name] = _OLD_NAME.sub(lambda m: _OLD_ATTENTION[m[1]], short)
    if not any(short.startswith("decoder.conv_in.") for short in plain.values()):
        raise CheckpointError(f"{path}: is no autoencoder: it has no decoder.conv_in.weight")
    levels = {short.split(".")[2] for short in plain.values() if short.startswith("encoder.down_blocks.")}
    if not levels:
        return {old: ldm.VAE + short for old, short in plain.items()}
    new = ldm_names.vae(plain.values(), len(levels))
    return {old: new[short] for old, short in plain.items()}


def _text(path: Path, source: Any) -> tuple[Any, dict[str, str], int]:
    """A CLIP text encoder's source, its names without what is before all of them, and its width."""
    table = next((name for name in source if name.endswith(_TABLE)), None)
    if table is None:
        raise CheckpointError(f"{path}: is no text encoder: it has neither CLIP's {_TABLE} nor T5's blocks")
    start = _prefix(source)
    names = {name: name.removeprefix(start) for name in source if name.startswith(start)}
    return source, names, source.header.tensors[table].shape[-1]


def _prefix(source: Iterable[str]) -> str:
    """What stands before ``text_model.`` or OpenCLIP's names."""
    table = next(name for name in source if name.endswith(_TABLE))
    return table.removesuffix(_TABLE).removesuffix("embeddings.").removesuffix("text_model.")

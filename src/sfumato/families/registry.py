"""Every family that can be loaded, and which one a file is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from sfumato.errors import CheckpointError
from sfumato.families import folder, sd1, sd2, sd3, sdxl, tiny_vae
from sfumato.families.base import Networks
from sfumato.families.ldm_file import describe, marks_missing
from sfumato.weights.detect import detect, needs
from sfumato.weights.header import Header, TensorInfo
from sfumato.weights.joined import UNET_NAMES, Checkpoint, join
from sfumato.weights.keymaps import clip, ldm
from sfumato.weights.keymaps.piece import Piece
from sfumato.weights.packed_folder import PackedFolder, as_folder, open_model, open_tensors


class Load(Protocol):
    """How a family's files and folders are loaded: as :func:`load`."""

    def __call__(
        self,
        path: Checkpoint,
        dtype: torch.dtype,
        vae_dtype: torch.dtype,
        device: torch.device,
        *,
        streamed: Sequence[str] = (),
    ) -> Networks:
        """The networks."""
        ...


@dataclass(frozen=True)
class Family:
    """How a family is known and loaded.

    ``marks`` are tensors that all its files have, of a tuple one; see :func:`sfumato.families.ldm_file.marks_missing`.
    ``texts`` says where its CLIP text encoders lie in a file: by diffusers' name, the first of these prefixes.
    """

    marks: Sequence[str | tuple[str, ...]]
    load: Load
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "sd1": Family(sd1.MARKS, sd1.load, {"text_encoder": (ldm.TEXT,)}),
    "sd2": Family(sd2.MARKS, sd2.load, {"text_encoder": (sd2.TEXT,)}),
    "sdxl": Family(sdxl.MARKS, sdxl.load, {"text_encoder": sdxl.FIRST, "text_encoder_2": sdxl.SECOND}),
    "sdxl-refiner": Family(sdxl.REFINER_MARKS, sdxl.load_refiner, {"text_encoder_2": sdxl.ONLY}),
    "sd3": Family(sd3.MARKS, sd3.load),
}

#: What else a file may be, by a name that its tensors have; the first that is found says it.
_OTHERS: Mapping[str, str] = {
    r"lora_(down|up|A|B)\b|\.lora\.|\.(hada|lokr)_w": "a LoRA, which changes a model and is none by itself",
    r"^control_model\.|^input_hint_block\.|^controlnet_": "a ControlNet, which steers a model and is none by itself",
    r"^conditioner\.embedders\.": "a part of Stable Diffusion XL",
    r"^cond_stage_model\.model\.": "a part of Stable Diffusion 2",
    r"\bjoint_blocks\.": "a part of Stable Diffusion 3; its CLIP text encoders and its autoencoder belong in the file",
    r"\bdouble_blocks\.": "Flux",
    r"^(down_blocks|text_model|mid_block)\.": "one part of a diffusers folder; give the folder that it lies in",
    r"^model\.diffusion_model\.": "a checkpoint that lacks its text encoder, its autoencoder or more",
    r"^(first_stage_model\.)?(encoder|decoder)\.": "an autoencoder alone",
    r"^(string_to_param|emb_params|clip_[lg])\b": "an embedding, which is a word for a model and none by itself",
}


def identify(path: Path) -> tuple[str, Header]:
    """The family's name, and the file's header; of a folder, also of one in a file, its UNet's.

    Raises:
        CheckpointError: damaged, or of no known family; the message names the nearest and what is missing.
    """
    found = open_model(path)
    if isinstance(found, Path | PackedFolder):
        return folder.family_of(found), open_tensors(folder.main_part(found)).header
    return _identify(path, found.header)


def _identify(path: Path, header: Header) -> tuple[str, Header]:
    lacking = {name: marks_missing(family.marks, header) for name, family in FAMILIES.items()}
    best = min(lacking, key=lambda name: (len(lacking[name]) - len(FAMILIES[name].marks), len(lacking[name])))
    if lacking[best]:
        lone = detect(header).kind == "unet" and any(name.startswith(UNET_NAMES) for name in header.tensors)
        what = needs(header) if lone else _other(header)
        raise CheckpointError(
            f"{path}: of no family that is known{what and f' (it looks like {what})'}; "
            f"nearest: {describe(best, FAMILIES[best].marks, lacking[best])}"
        )
    return best, header


def family_of(header: Header) -> str:
    """The family that has all its marks in the header; empty if none has."""
    return next((name for name, family in FAMILIES.items() if not marks_missing(family.marks, header)), "")


def recommended(path: Path) -> dict[str, Any]:
    """What a diffusers folder, also one in a file, recommends for itself; other files recommend nothing.

    Raises:
        CheckpointError: it can't be read.
    """
    home = as_folder(path)
    return folder.recommended(home) if home is not None else {}


def text_places(family: str, tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, Piece]]:
    """Where each text encoder's tensors lie in a file of the family: by diffusers' name of the text encoder, and by the
    tensor's name without ``text_model.``.
    """
    places = {}
    for kind, prefixes in FAMILIES[family].texts.items():
        prefix = next(one for one in prefixes if any(name.startswith(one) for name in tensors))
        places[kind] = clip.names(tensors, prefix)
    return places


@dataclass(frozen=True)
class Parts:
    """Other networks than the model's own, or those that it lacks: an autoencoder, CLIP's text encoders.

    ``partial``: tensors of the file that are part of no network may be left out.
    """

    vae: Path | None = None
    texts: tuple[Path, ...] = ()
    partial: bool = False


def load(
    path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *,
    streamed: Sequence[str] = (), parts: Parts | None = None,
) -> Networks:  # fmt: skip
    """Load a checkpoint file or diffusers folder, with other parts if any are given.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file and are read
            from it at every use; packed ones are in memory as they are.

    Raises:
        CheckpointError: it is damaged or of no known family; the message names the nearest and what is missing.
    """
    parts = parts or Parts()
    tiny = parts.vae if parts.vae is not None and tiny_vae.is_tiny(parts.vae) else None
    vae = parts.vae if tiny is None else None
    found = open_model(path)
    if isinstance(found, Path | PackedFolder):
        if vae is not None or parts.texts:
            raise CheckpointError(
                f"{path}: of a diffusers folder no part can be exchanged but for a tiny autoencoder; put it in there"
            )
        networks = folder.load(found, dtype, vae_dtype, device, streamed=streamed)
    elif vae is not None or parts.texts or parts.partial:
        joined = join(path, vae, parts.texts, partial=parts.partial)
        name, _ = _identify(path, joined.header)
        networks = FAMILIES[name].load(joined, dtype, vae_dtype, device, streamed=streamed)
    else:
        name, _ = _identify(path, found.header)
        networks = FAMILIES[name].load(found, dtype, vae_dtype, device, streamed=streamed)
    if tiny is not None:
        networks.vae = tiny_vae.load(tiny, networks.vae, networks.spec, vae_dtype, device)
    return networks


def _other(header: Header) -> str:
    return next((what for mark, what in _OTHERS.items() if any(re.search(mark, n) for n in header.tensors)), "")

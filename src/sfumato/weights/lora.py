"""LoRA files: low-rank branches by the module that they stand beside, in the spellings that trainers write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.runtime.adapted import Branch
from sfumato.weights.source import TensorSource

#: kohya: one underscored name for a module. diffusers and PEFT: the module's path.
_KOHYA = re.compile(r"lora_(unet|te)_(.+?)\.(lora_down|lora_up|alpha)(?:\.weight)?")
_DOTTED = re.compile(
    r"(?:base_model\.model\.)?(unet|text_encoder)\.(?:base_model\.model\.)?(.+?)"
    r"\.(lora_A|lora_B|lora\.down|lora\.up|lora_linear_layer\.down|lora_linear_layer\.up|alpha)"
    r"(?:\.default)?(?:\.weight)?"
)
#: The oldest diffusers files name the attention's processor.
_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
_PARTS = {"lora_down": "down", "lora_A": "down", "lora.down": "down", "lora_linear_layer.down": "down",
          "lora_up": "up", "lora_B": "up", "lora.up": "up", "lora_linear_layer.up": "up", "alpha": "alpha"}  # fmt: skip
#: Other ways to change a layer, which are not low-rank products.
_OTHER = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_magnitude": "DoRA", "lora_mid": "Tucker LoRA",
          "oft_": "OFT", "boft_": "BOFT"}  # fmt: skip
#: diffusers' metadata of the adapters' configurations.
_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class Lora:
    """A file's branches: network (``unet`` or ``text_encoder``) and module name to branch.

    Names are as the file has them: with dots, or with underscores for all dots.
    """

    path: Path
    branches: Mapping[tuple[str, str], Branch]


def read_lora(path: Path) -> Lora:
    """Read a ``.safetensors`` LoRA in kohya's, diffusers' or PEFT's spelling.

    Raises:
        CheckpointError: damaged, of another kind, or with tensors that belong to no branch.
    """
    source = TensorSource(path)
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for name in source:
        found = _parse(name)
        if found is None:
            unknown.append(name)
        else:
            network, module, part = found
            parts.setdefault((network, module), {})[part] = source.get(name)
    for mark, kind in _OTHER.items():
        if any(mark in name for name in unknown):
            raise CheckpointError(f"{path}: is a {kind}, which can't be used yet; LoRA and LoCon can.")
    if unknown or not parts:
        some = ", ".join(sorted(unknown)[:3]) or "no tensors"
        raise CheckpointError(f"{path}: {len(unknown)} of {len(source.names())} tensors are no LoRA's, such as {some}")
    alphas = _alphas(source.header.metadata)
    return Lora(path, {key: _branch(path, key, tensors, alphas) for key, tensors in parts.items()})


def _parse(name: str) -> tuple[str, str, str] | None:
    """(network, module, part), or None for a name of another kind."""
    if match := _KOHYA.fullmatch(name):
        return {"te": "text_encoder"}.get(match[1], match[1]), match[2], _PARTS[match[3]]
    name = _PROCESSOR.sub(lambda m: f".to_{'out.0' if m[1] == 'out' else m[1]}.lora.{m[2]}.weight", name)
    if match := _DOTTED.fullmatch(name):
        return match[1], match[2], _PARTS[match[3]]
    return None


def _branch(path: Path, key: tuple[str, str], tensors: dict[str, Tensor], alphas: Mapping[str, float]) -> Branch:
    if not {"down", "up"} <= tensors.keys():
        raise CheckpointError(f"{path}: {'.'.join(key)} lacks one of its two matrices; download the file again")
    down, up = tensors["down"], tensors["up"]
    rank = down.shape[0]
    if up.shape[1] != rank:
        raise CheckpointError(f"{path}: {'.'.join(key)}: {tuple(down.shape)} and {tuple(up.shape)} do not fit")
    alpha = float(tensors["alpha"]) if "alpha" in tensors else alphas.get(key[0], float(rank))
    return Branch(down, up, alpha / rank)


def _alphas(metadata: Mapping[str, str]) -> dict[str, float]:
    """What diffusers' metadata says of each network's alpha."""
    try:
        known = json.loads(metadata.get(_METADATA, "{}"))
        return {n: float(known[f"{n}.lora_alpha"]) for n in ("unet", "text_encoder") if f"{n}.lora_alpha" in known}
    except (ValueError, TypeError):
        return {}

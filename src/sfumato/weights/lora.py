"""Files of LoRAs and their kin: changes by the module that they stand beside, in the spellings that trainers write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.runtime.changes import Change
from sfumato.weights import adapter_forms
from sfumato.weights.source import TensorSource

_PART = (
    r"lora_A|lora_B|lora\.down|lora\.up|lora_down|lora_up|lora_mid|lora_linear_layer\.down|lora_linear_layer\.up|"
    r"alpha|dora_scale|lora_magnitude_vector|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2"
)
#: kohya: one underscored name for a module. diffusers, PEFT and others: its path, below its network's name or alone.
_KOHYA = re.compile(rf"(?:lora|lycoris)_(unet|te[123]?|transformer)_(.+?)\.({_PART})(?:\.weight)?")
_DOTTED = re.compile(
    r"(?:base_model\.model\.)?(?:(unet|text_encoder(?:_[23])?|transformer|lora_unet|lora_te[123]?|clip_[lg]|"
    rf"(?:model\.)?diffusion_model)\.)?(?:base_model\.model\.)?(.+?)\.({_PART})(?:\.default)?(?:\.weight)?"
)
_NETWORKS = {"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3",
             "lora_unet": "unet", "lora_te": "text_encoder", "lora_te1": "text_encoder", "lora_te2": "text_encoder_2",
             "lora_te3": "text_encoder_3", "clip_l": "text_encoder", "clip_g": "text_encoder_2",
             "diffusion_model": "unet", "model.diffusion_model": "unet"}  # fmt: skip
#: The oldest diffusers files name the attention's processor.
_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
_PARTS = {"lora_down": "down", "lora_A": "down", "lora.down": "down", "lora_linear_layer.down": "down",
          "lora_up": "up", "lora_B": "up", "lora.up": "up", "lora_linear_layer.up": "up",
          "lora_mid": "mid", "lora_magnitude_vector": "dora_scale"}  # fmt: skip
#: Other ways to change a layer, which can't be followed.
_OTHER = {"boft_": "BOFT", "oft_": "OFT", "on_input": "(IA)3", ".diff": "difference of whole weights",
          ".w_norm": "difference of whole weights"}  # fmt: skip
#: diffusers' metadata of the adapters' configurations.
_METADATA = "lora_adapter_metadata"
#: A name in them that says which modules are meant: a module's path, or the end of one.
_PATTERN = re.compile(r"\^?(\w+(?:\.\w+)*)\$?")


@dataclass(frozen=True)
class Lora:
    """A file's changes: network (``unet``, ``text_encoder``, ...) and module name to change.

    Names of modules are as the file has them: with dots, or with underscores for all dots.
    """

    path: Path
    branches: Mapping[tuple[str, str], Change]


def read_lora(path: Path) -> Lora:
    """Read a ``.safetensors`` LoRA, LoCon, LoHa, LoKr or DoRA in any of the trainers' spellings.

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
            raise CheckpointError(f"{path}: is a {kind}, which can't be used; LoRA, LoCon, LoHa, LoKr and DoRA can.")
    if unknown or not parts:
        some = ", ".join(sorted(unknown)[:3]) or "no tensors"
        raise CheckpointError(f"{path}: {len(unknown)} of {len(source.names())} tensors are no LoRA's, such as {some}")
    configs = _configs(path, source.header.metadata)
    return Lora(path, {key: _change(path, key, tensors, configs.get(key[0], {})) for key, tensors in parts.items()})


def _parse(name: str) -> tuple[str, str, str] | None:
    """(network, module, part), or None for a name of another kind."""
    if match := _KOHYA.fullmatch(name):
        return _NETWORKS.get(match[1], match[1]), match[2], _PARTS.get(match[3], match[3])
    name = _PROCESSOR.sub(lambda m: f".to_{'out.0' if m[1] == 'out' else m[1]}.lora.{m[2]}.weight", name)
    if match := _DOTTED.fullmatch(name):
        alone = "text_encoder" if match[2].startswith(("text_model.", "encoder.layers.")) else "unet"
        return _NETWORKS.get(match[1], match[1] or alone), match[2], _PARTS.get(match[3], match[3])
    return None


def _change(path: Path, key: tuple[str, str], tensors: dict[str, Tensor], config: Mapping[str, Any]) -> Change:
    where = f"{path}: {'.'.join(key)}"
    alpha = tensors.pop("alpha", None)
    if alpha is not None and alpha.numel() != 1:
        raise CheckpointError(f"{where}: its alpha is of shape {tuple(alpha.shape)} and not one number")

    def scale(rank: int) -> float:
        if alpha is not None:
            return float(alpha) / rank
        return _alpha(key[1], rank, config) / (rank**0.5 if config.get("use_rslora") else rank)

    return adapter_forms.change(where, tensors, scale)


def _alpha(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """What the network's configuration says of the module; the rank where it says nothing."""
    for name, alpha in config.get("alpha_pattern", {}).items():
        if module == name or module.endswith(f".{name}"):
            return alpha
    return config.get("lora_alpha", float(rank))


def _configs(path: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What diffusers' metadata says of each network's scales: ``lora_alpha``, ``alpha_pattern``, ``use_rslora``.

    Raises:
        CheckpointError: it can't be read, or has a pattern that is more than a module's name.
    """
    configs: dict[str, dict[str, Any]] = {}
    try:
        for key, value in json.loads(metadata.get(_METADATA, "{}")).items():
            network, _, name = key.partition(".")
            if name == "lora_alpha":
                value = float(value)
            elif name == "alpha_pattern":
                value = {_module(pattern): float(alpha) for pattern, alpha in (value or {}).items()}
            configs.setdefault(network, {})[name] = value
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its {_METADATA} can't be read ({error}); download the file again") from error
    return configs


def _module(pattern: str) -> str:
    """The module's name, or the end of one, that a pattern of peft's stands for."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        raise ValueError(f"{pattern!r} is not a module's name")
    return match[1]

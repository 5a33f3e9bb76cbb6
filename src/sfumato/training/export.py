"""What a run leaves: LoRA files in kohya's or diffusers' layout, and whole models."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sfumato.errors import RequestError
from sfumato.families import registry
from sfumato.runtime.atomic import write_whole
from sfumato.training.methods import Trainee, alpha_of, branches
from sfumato.training.settings import MethodSettings, TrainSettings
from sfumato.weights.keymaps import ldm, ldm_names
from sfumato.weights.keymaps.piece import Piece
from sfumato.weights.source import open_any, open_part

#: The key under which diffusers looks for the adapters' configurations.
_DIFFUSERS_KEY = "lora_adapter_metadata"
#: What kohya calls the text encoders of models that have two.
_KOHYA_TEXTS = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def save_lora(path: Path, trainee: Trainee, what: MethodSettings, layout: str, facts: Mapping[str, Any]) -> Path:
    """Write the branches as one ``.safetensors`` file.

    Args:
        layout: ``kohya`` (names with underscores, an alpha for each branch, ``ss_*`` metadata) or ``diffusers``.
        facts: for the metadata: names to anything that ``str`` or JSON can put into words.
    """
    tensors: dict[str, Tensor] = {}
    alpha = torch.tensor(alpha_of(what))
    for kind, network in trainee.networks().items():
        found = list(branches(network))
        kohya = _kohya_names(kind, network, [name for name, _, _ in found], trainee.family)
        for name, down, up in found:
            if layout == "kohya":
                key = kohya[name]
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": alpha}
            else:
                key = f"{kind}.{_full(kind, name)}"
                tensors |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    tensors = {key: value.cpu().contiguous().clone() for key, value in tensors.items()}
    metadata = _metadata(facts)
    if layout == "kohya":
        metadata |= {"ss_network_module": "networks.lora", "ss_network_dim": str(what.rank)}
        metadata |= {"ss_network_alpha": f"{alpha_of(what):g}"}
    else:
        metadata[_DIFFUSERS_KEY] = json.dumps(_adapter_metadata(trainee, what))
    metadata["sshs_model_hash"] = data_hash(save(tensors))
    write_whole(path, save(tensors, metadata))
    return path


def _full(kind: str, name: str) -> str:
    """A layer's path as transformers before 5 has it, whose names files keep."""
    return name if kind == "unet" or name.startswith("text_model.") else f"text_model.{name}"


def _kohya_names(kind: str, network: Any, names: Sequence[str], family: str) -> dict[str, str]:
    """kohya's name for each layer; Stable Diffusion XL's UNet has the first code's names there, not diffusers'."""
    if kind != "unet":
        prefix = _KOHYA_TEXTS[kind] if family == "sdxl" else "lora_te_"
        return {name: prefix + _full(kind, name).replace(".", "_") for name in names}
    old = ldm_names.modules(names, ldm.configured_shape(network.config)) if family == "sdxl" else {}
    return {name: "lora_unet_" + old.get(name, name).replace(".", "_") for name in names}


def save_embedding(path: Path, trainee: Trainee, settings: TrainSettings, facts: Mapping[str, Any]) -> Path:
    """Write a new word's vectors, under the name ``emb_params`` as web UIs do, or under the word as diffusers does.

    Those for several text encoders are named after these.
    """
    if len(trainee.vectors) > 1:
        keys = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    else:
        keys = {"text_encoder": settings.what.token or "" if settings.save_as == "diffusers" else "emb_params"}
    tensors = {keys[kind]: vectors.detach().cpu().contiguous() for kind, vectors in trainee.vectors.items()}
    write_whole(path, save(tensors, _metadata(facts)))
    return path


def data_hash(content: bytes) -> str:
    """SHA-256 of a safetensors file's tensors, without its header: the name by which web UIs know a network."""
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def _adapter_metadata(trainee: Trainee, what: MethodSettings) -> dict[str, Any]:
    """peft's configuration of each network's adapter, as ``save_lora_weights`` of diffusers 0.35 writes it."""
    out = {}
    for kind, network in trainee.networks().items():
        targets = sorted(name for name, _, _ in branches(network))
        config = {"r": what.rank, "lora_alpha": alpha_of(what), "target_modules": targets}
        out |= {f"{kind}.{key}": value for key, value in config.items()}
    return out


def _metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts that are known, as the texts that a safetensors file holds."""
    known = {name: value for name, value in facts.items() if value is not None}
    return {"format": "pt", **{n: v if isinstance(v, str) else json.dumps(v) for n, v in known.items()}}


def save_model(path: Path, base: Path, trainee: Trainee, facts: Mapping[str, Any]) -> Path:
    """Write the whole model in its base's layout: a diffusers folder, or one LDM file where ``path`` ends so.

    Raises:
        RequestError: the base is a folder and one file was asked for, or the other way round.
    """
    changed = trainee.networks()
    if path.suffix == ".safetensors":
        if base.is_dir():
            raise RequestError("--save_as ldm: the base is a diffusers folder; leave --save_as out to get a folder.")
        write_whole(path, _ldm_file(base, changed, trainee.family, facts))
        return path
    if not base.is_dir():
        raise RequestError("--save_as diffusers: the base is a single file; leave --save_as out to get a file.")
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(base, unfinished, ignore=lambda folder, names: _weights_of(Path(folder), names, base, changed))
    for part, network in changed.items():
        stored = open_part(base / part)
        names = {name.removeprefix("text_model."): name for name in stored}
        dtype = next(t.dtype for t in map(stored.get, stored) if t.is_floating_point())
        tensors = {
            names.get(name.removeprefix("text_model."), name): value.detach().to("cpu", dtype).contiguous()
            for name, value in network.state_dict().items()
        }
        file = "diffusion_pytorch_model.safetensors" if part == "unet" else "model.safetensors"
        write_whole(unfinished / part / file, save(tensors, _metadata(facts)))
    if path.exists():
        shutil.rmtree(path)
    unfinished.rename(path)
    return path


def _weights_of(folder: Path, names: list[str], base: Path, changed: Mapping[str, Any]) -> list[str]:
    """What not to copy: the weights that are written anew."""
    if folder.parent != base or folder.name not in changed:
        return []
    return [name for name in names if ".safetensors" in name or name.endswith(".bin")]


def _ldm_file(base: Path, changed: Mapping[str, nn.Module], family: str, facts: Mapping[str, Any]) -> bytes:
    """The base file's content with new weights in the place of the old, in its types and shapes."""
    source = open_any(base)
    known = source.header.tensors
    tensors = {name: source.get(name) for name in source}
    places = {"unet": {new: Piece(old) for old, new in ldm.unet_names(known, ldm.unet_shape(known)).items()}}
    places |= registry.text_places(family, known)
    for kind, network in changed.items():
        for name, value in network.state_dict().items():
            if (piece := places[kind].get(name.removeprefix("text_model."))) is not None:
                tensors[piece.name] = piece.put(tensors[piece.name], value.detach().cpu())
    metadata = {**source.header.metadata, **_metadata(facts)}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)

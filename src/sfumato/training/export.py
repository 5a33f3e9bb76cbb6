"""What a run leaves: LoRA files in kohya's or diffusers' layout, and whole models."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.families.base import Networks
from sfumato.runtime.atomic import write_whole
from sfumato.training.methods import Trainee, alpha_of, branches
from sfumato.training.settings import MethodSettings, TrainSettings

#: The key under which diffusers looks for the adapters' configurations.
_DIFFUSERS_KEY = "lora_adapter_metadata"
_NETWORKS = (("unet", "lora_unet_"), ("text_encoder", "lora_te_"))


def save_lora(path: Path, trainee: Trainee, what: MethodSettings, layout: str, facts: Mapping[str, Any]) -> Path:
    """Write the branches as one ``.safetensors`` file.

    Args:
        layout: ``kohya`` (names with underscores, an alpha for each branch, ``ss_*`` metadata) or ``diffusers``.
        facts: for the metadata: names to anything that ``str`` or JSON can put into words.
    """
    tensors: dict[str, Tensor] = {}
    alpha = torch.tensor(alpha_of(what))
    for network, prefix in _NETWORKS:
        if not hasattr(trainee, network):
            continue
        for name, down, up in branches(getattr(trainee, network)):
            full = name if network == "unet" or name.startswith("text_model.") else f"text_model.{name}"
            if layout == "kohya":
                key = prefix + full.replace(".", "_")
                tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": alpha}
            else:
                tensors |= {f"{network}.{full}.lora_A.weight": down, f"{network}.{full}.lora_B.weight": up}
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


def save_embedding(path: Path, trainee: Trainee, settings: TrainSettings, facts: Mapping[str, Any]) -> Path:
    """Write a new word's vectors, under the name ``emb_params`` as web UIs do, or under the word as diffusers does."""
    if trainee.vectors is None:
        raise ValueError("no vectors were trained")
    key = settings.what.token or "" if settings.save_as == "diffusers" else "emb_params"
    write_whole(path, save({key: trainee.vectors.detach().cpu().contiguous()}, _metadata(facts)))
    return path


def data_hash(content: bytes) -> str:
    """SHA-256 of a safetensors file's tensors, without its header: the name by which web UIs know a network."""
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def _adapter_metadata(trainee: Trainee, what: MethodSettings) -> dict[str, Any]:
    """peft's configuration of each network's adapter, as ``save_lora_weights`` of diffusers 0.35 writes it."""
    out = {}
    for network, _ in _NETWORKS:
        if hasattr(trainee, network):
            targets = sorted(name for name, _, _ in branches(getattr(trainee, network)))
            config = {"r": what.rank, "lora_alpha": alpha_of(what), "target_modules": targets}
            out |= {f"{network}.{key}": value for key, value in config.items()}
    return out


def _metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts that are known, as the texts that a safetensors file holds."""
    known = {name: value for name, value in facts.items() if value is not None}
    return {"format": "pt", **{n: v if isinstance(v, str) else json.dumps(v) for n, v in known.items()}}


def save_model(path: Path, base: Path, networks: Networks, trainee: Trainee, facts: Mapping[str, Any]) -> Path:
    """Write the whole model in its base's layout: a diffusers folder, or one LDM file where ``path`` ends so.

    Raises:
        RequestError: the base is a folder and one file was asked for, or the other way round.
    """
    changed = {"unet": networks.unet}
    if hasattr(trainee, "text_encoder"):
        changed["text_encoder"] = networks.text_encoder
    if path.suffix == ".safetensors":
        if base.is_dir():
            raise RequestError("--save_as ldm: the base is a diffusers folder; leave --save_as out to get a folder.")
        write_whole(path, _ldm_file(base, changed, facts))
        return path
    if not base.is_dir():
        raise RequestError("--save_as diffusers: the base is a single file; leave --save_as out to get a file.")
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(base, unfinished, ignore=lambda folder, names: _weights_of(Path(folder), names, base, changed))
    for part, network in changed.items():
        files = [f for f in (base / part).iterdir() if f.suffix == ".safetensors"]
        name = "model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors"
        dtype = _stored_type(files[0])
        tensors = {n: t.detach().to("cpu", dtype).contiguous() for n, t in network.state_dict().items()}
        write_whole(unfinished / part / name, save(tensors, _metadata(facts)))
    if path.exists():
        shutil.rmtree(path)
    unfinished.rename(path)
    return path


def _weights_of(folder: Path, names: list[str], base: Path, changed: Mapping[str, Any]) -> list[str]:
    """What not to copy: the weights that are written anew."""
    if folder.parent != base or folder.name not in changed:
        return []
    return [name for name in names if ".safetensors" in name or name.endswith(".bin")]


def _stored_type(file: Path) -> torch.dtype:
    from sfumato.weights.source import TensorSource

    source = TensorSource(file)
    return next(t.dtype for t in (source.get(name) for name in source) if t.is_floating_point())


def _ldm_file(base: Path, changed: Mapping[str, Any], facts: Mapping[str, Any]) -> bytes:
    """The base file's content with new weights in the place of the old, in its types and shapes."""
    from sfumato.weights.keymaps import ldm
    from sfumato.weights.source import open_any

    source = open_any(base)
    header = source.header
    new: dict[str, Tensor] = {}
    for old, name in ldm.unet_names(header.tensors, ldm.unet_shape(header.tensors)).items():
        new[old] = changed["unet"].get_parameter(name)
    if "text_encoder" in changed:
        text = dict(changed["text_encoder"].named_parameters())
        for old in header.tensors:
            if old.startswith(ldm.TEXT):
                short = old.removeprefix(ldm.TEXT).removeprefix("text_model.")
                found = text.get(short, text.get(f"text_model.{short}"))
                if found is not None:
                    new[old] = found
    tensors = {}
    for name in source:
        stored = source.get(name)
        tensors[name] = new[name].detach().cpu().to(stored.dtype).reshape(stored.shape) if name in new else stored
    metadata = {**header.metadata, **_metadata(facts)}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)

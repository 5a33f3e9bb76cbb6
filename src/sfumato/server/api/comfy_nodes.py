"""ComfyUI's nodes, as far as this server draws by them: their inputs and outputs, and what ``/object_info`` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfumato.request import MAX_SIDE, MAX_STEPS
from sfumato.sampling import names
from sfumato.server.services import Services

#: The largest seed that this program has.
MAX_SEED = 2**63 - 1
#: Keys of ours that ComfyUI spells in another way.
_SPELLED = {
    "euler_a": "euler_ancestral", "dpm2": "dpm_2", "dpm2_a": "dpm_2_ancestral", "dpmpp_2s_a": "dpmpp_2s_ancestral",
    "unipc": "uni_pc",
}  # fmt: skip
_SPELLED_SCHEDULERS = {"ddim": "ddim_uniform"}


@dataclass(frozen=True)
class Input:
    """One input of a node.

    ``kind`` is a type of links (``MODEL``, ``LATENT``, ...), or of values: ``INT``, ``FLOAT``, ``STRING``, or ``COMBO``
    for a name of a list. ``least`` and ``most`` are its limits.
    """

    kind: str
    default: Any = None
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Node:
    """A class of nodes. ``outputs`` are types, in the order of their numbers; for one that ``ends`` a graph is made."""

    title: str
    category: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    ends: bool = False


def _whole(default: int, least: int, most: int) -> Input:
    return Input("INT", default, least, most)


_SEED, _STEPS = _whole(0, 0, MAX_SEED), _whole(20, 1, MAX_STEPS)
_CFG, _PICK = Input("FLOAT", 8.0, 0.0, 100.0), Input("COMBO")
_STRENGTH = Input("FLOAT", 1.0, -100.0, 100.0)
_LINKS = {name: Input(name.upper()) for name in ("model", "clip", "vae")}
_SAMPLED = {
    "cfg": _CFG, "sampler_name": _PICK, "scheduler": _PICK, "positive": Input("CONDITIONING"),
    "negative": Input("CONDITIONING"), "latent_image": Input("LATENT"),
}  # fmt: skip
_SIDE = _whole(512, 16, MAX_SIDE)

NODES: Mapping[str, Node] = {
    "CheckpointLoaderSimple": Node("Load Checkpoint", "loaders", {"ckpt_name": _PICK}, ("MODEL", "CLIP", "VAE")),
    "VAELoader": Node("Load VAE", "loaders", {"vae_name": _PICK}, ("VAE",)),
    "LoraLoader": Node(
        "Load LoRA",
        "loaders",
        {
            "model": _LINKS["model"], "clip": _LINKS["clip"], "lora_name": _PICK, "strength_model": _STRENGTH,
            "strength_clip": _STRENGTH,
        },
        ("MODEL", "CLIP"),
    ),
    "CLIPSetLastLayer": Node(
        "CLIP Set Last Layer",
        "conditioning",
        {"clip": _LINKS["clip"], "stop_at_clip_layer": _whole(-1, -12, -1)},
        ("CLIP",),
    ),
    "CLIPTextEncode": Node(
        "CLIP Text Encode (Prompt)",
        "conditioning",
        {"text": Input("STRING", ""), "clip": _LINKS["clip"]},
        ("CONDITIONING",),
    ),
    "EmptyLatentImage": Node(
        "Empty Latent Image", "latent", {"width": _SIDE, "height": _SIDE, "batch_size": _whole(1, 1, 64)}, ("LATENT",)
    ),
    "LoadImage": Node("Load Image", "image", {"image": _PICK}, ("IMAGE", "MASK")),
    "VAEEncode": Node("VAE Encode", "latent", {"pixels": Input("IMAGE"), "vae": _LINKS["vae"]}, ("LATENT",)),
    "KSampler": Node(
        "KSampler",
        "sampling",
        {
            "model": _LINKS["model"], "seed": _SEED, "steps": _STEPS, **_SAMPLED,
            "denoise": Input("FLOAT", 1.0, 0.0, 1.0),
        },
        ("LATENT",),
    ),
    "KSamplerAdvanced": Node(
        "KSampler (Advanced)",
        "sampling",
        {
            "model": _LINKS["model"], "add_noise": _PICK, "noise_seed": _SEED, "steps": _STEPS, **_SAMPLED,
            "start_at_step": _whole(0, 0, 10_000), "end_at_step": _whole(10_000, 0, 10_000),
            "return_with_leftover_noise": _PICK,
        },
        ("LATENT",),
    ),
    "VAEDecode": Node("VAE Decode", "latent", {"samples": Input("LATENT"), "vae": _LINKS["vae"]}, ("IMAGE",)),
    "SaveImage": Node(
        "Save Image", "image", {"images": Input("IMAGE"), "filename_prefix": Input("STRING", "ComfyUI")}, (), True
    ),
    "PreviewImage": Node("Preview Image", "image", {"images": Input("IMAGE")}, (), True),
}  # fmt: skip


def choices(name: str, services: Services, uploads: Sequence[str]) -> list[str]:
    """What a ``COMBO`` input of this name may be."""
    fixed = {"add_noise": ["enable", "disable"], "return_with_leftover_noise": ["disable", "enable"]}
    if name in fixed:
        return fixed[name]
    if name == "sampler_name":
        return [_SPELLED.get(each.key, each.key) for each in names.SAMPLERS]
    if name == "scheduler":
        keys = [each.key for each in names.SCHEDULERS if each.key != "automatic"]
        return [_SPELLED_SCHEDULERS.get(key, key) for key in keys]
    files = {"ckpt_name": services.models, "lora_name": services.loras, "vae_name": services.vaes}
    return list(uploads) if name == "image" else list(files[name]())


def describe(name: str, services: Services, uploads: Sequence[str]) -> dict[str, Any]:
    """One class as ``/object_info`` has it."""
    node = NODES[name]
    required = {key: _described(key, each, services, uploads) for key, each in node.inputs.items()}
    return {
        "input": {"required": required},
        "input_order": {"required": list(required)},
        "output": list(node.outputs),
        "output_is_list": [False] * len(node.outputs),
        "output_name": list(node.outputs),
        "name": name,
        "display_name": node.title,
        "description": "",
        "python_module": "nodes",
        "category": node.category,
        "output_node": node.ends,
    }


def _described(name: str, given: Input, services: Services, uploads: Sequence[str]) -> list[Any]:
    if given.kind == "COMBO":
        return [choices(name, services, uploads)]
    limits = {"default": given.default, "min": given.least, "max": given.most}
    told = {key: value for key, value in limits.items() if value is not None}
    return [given.kind, told] if told else [given.kind]

"""A model in diffusers' folder layout: everything is taken from its configuration files."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sfumato.errors import CheckpointError, nearest
from sfumato.families import joint, sized, t5_tokens, tokens
from sfumato.families.base import Networks, Reader, Spec
from sfumato.families.build import beside_of, build, check_fit, fill, fill_t5, fill_text
from sfumato.families.text import ClipReader
from sfumato.runtime.libraries import (
    AutoencoderKL,
    AutoencoderTiny,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from sfumato.sampling.noise_schedule import KINDS
from sfumato.weights.blocks import Stored
from sfumato.weights.keymaps import t5
from sfumato.weights.packed_folder import Folder, open_tensors
from sfumato.weights.remote import stream

#: Pipelines that have these networks and no more, by the family that they are of; the nearest is first.
PIPELINES: Mapping[str, str] = {
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionImg2ImgPipeline": "sd1",
    "StableDiffusionInpaintPipeline": "sd1",
    "StableDiffusionInstructPix2PixPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "StableDiffusionXLInpaintPipeline": "sdxl",
    "StableDiffusionXLInstructPix2PixPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "StableDiffusion3Img2ImgPipeline": "sd3",
    "StableDiffusion3InpaintPipeline": "sd3",
}
#: The text encoders, by family: the same pipelines draw with Stable Diffusion 1 and 2, with the base and the refiner.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "sd1": ("text_encoder",),
    "sd2": ("text_encoder",),
    "sdxl": ("text_encoder", "text_encoder_2"),
    "sdxl-refiner": ("text_encoder_2",),
    "sd3": ("text_encoder", "text_encoder_2"),
}
#: Stable Diffusion 3's third text encoder, which a folder may lack.
_T5 = "text_encoder_3"
#: Our addition to the layout, optional: what suits the model.
RECOMMENDED = "recommended.json"
_UNETS = {"UNet2DConditionModel": UNet2DConditionModel}
_TRANSFORMERS = {"SD3Transformer2DModel": SD3Transformer2DModel}
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
#: Attention in autoencoders that were saved before diffusers 0.15, the published Stable Diffusion 1.5 among them.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: Bytes of a configuration; the longest have 10,000.
_LONGEST = 2**20
_OLD_NAME = re.compile(rf"(?<=attentions\.0\.)({'|'.join(_OLD_ATTENTION)})(?=\.(weight|bias)$)")


def load(
    path: Folder, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load the folder's networks, its tokenizers, and what its scheduler says of the training.

    Args:
        dtype: for text encoders and UNet. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    family = family_of(path)
    parts = {"unet": main_part(path), "vae": path / "vae"}
    configs = {part: read_json(folder / "config.json") for part, folder in parts.items()}
    unet_kind = _class_of(configs["unet"], _TRANSFORMERS if family == "sd3" else _UNETS, parts["unet"])
    vae_kind = _class_of(configs["vae"], _VAES, parts["vae"])
    unet = build(lambda: unet_kind.from_config(configs["unet"]), parts["unet"])
    vae = build(lambda: vae_kind.from_config(configs["vae"]), parts["vae"])
    spec = _spec(family, path, unet.config, vae.config)
    readers: tuple[Reader, ...] = tuple(
        _reader(family, path, name, dtype, device, streamed="text_encoder" in streamed) for name in _TEXTS[family]
    )
    if family == "sd3" and (path / _T5 / "config.json").is_file():
        readers += (_t5(path, dtype, device, streamed="t5" in streamed),)
    unet = fill(unet, _tensors(parts["unet"], "unet" in streamed), dtype, device, parts["unet"])
    vae = fill(vae, _tensors(parts["vae"], "vae" in streamed), vae_dtype, device, parts["vae"])
    networks = Networks(spec, readers, unet, vae, device)
    if configs["unet"].get("addition_embed_type") == "text_time":
        networks.conditioner = _sized(path, networks.unet.config, readers[-1])
    elif family == "sd3":
        networks.conditioner = joint.JointWords(networks.unet.config.joint_attention_dim)
    return check_fit(networks, path)


def _reader(
    family: str, path: Folder, name: str, dtype: torch.dtype, device: torch.device, *, streamed: bool
) -> ClipReader:
    folder, second = path / name, name == "text_encoder_2"
    config = read_json(folder / "config.json")
    kind = config.get("model_type", "clip_text_model")
    if kind != "clip_text_model":
        raise CheckpointError(f"{folder}: a {kind} is of no family that is known; nearest: sd1")
    projected = second or family == "sd3"
    pad = "!" if second or family == "sd2" else tokens.EOS
    tokenizer = tokens.from_folder(path / name.replace("text_encoder", "tokenizer"), pad)
    network = fill_text(config, _tensors(folder, streamed), dtype, device, folder, projected=projected)
    if family.startswith("sdxl"):
        return sized.reader(name, network, tokenizer)
    if family == "sd3":
        return joint.reader(name, network, tokenizer)
    return ClipReader(tokenizer, network, skips=family == "sd1")


def _t5(path: Folder, dtype: torch.dtype, device: torch.device, *, streamed: bool) -> joint.T5Reader:
    folder = path / _T5
    stored = _tensors(folder, streamed)
    tensors = {new: stored[piece.name] for new, piece in t5.names(stored).items()}
    network = fill_t5(read_json(folder / "config.json"), tensors, dtype, device, folder)
    return joint.T5Reader(t5_tokens.from_folder(path / "tokenizer_3"), network)


def _sized(path: Folder, unet: Any, last: Reader) -> sized.WordsAndSize:
    """By the widths, whether the UNet takes a score; of the index, what an empty negative prompt is."""
    numbers = unet.projection_class_embeddings_input_dim - last.network.config.projection_dim
    zero_empty = read_json(path / "model_index.json").get("force_zeros_for_empty_prompt", True)
    return sized.WordsAndSize(bool(zero_empty), scored=numbers == 5 * unet.addition_time_embed_dim)


def main_part(path: Folder) -> Folder:
    """The folder of the network that takes the noise away."""
    return path / ("transformer" if family_of(path) == "sd3" else "unet")


def family_of(path: Folder) -> str:
    """The family of a model's folder.

    Raises:
        CheckpointError: it has no ``model_index.json``, or one that names another pipeline.
    """
    if not (path / "model_index.json").is_file():
        raise CheckpointError(
            f"{path}: not a diffusers model: it has no model_index.json; "
            "give a folder that has one, or a .safetensors file"
        )
    nearest_one = next(iter(PIPELINES))
    name = read_json(path / "model_index.json").get("_class_name", nearest_one)
    if name not in PIPELINES:
        raise CheckpointError(
            f"{path}: of no family that is known: its model_index.json names {name}; nearest: sd1 ({nearest_one})"
        )
    if PIPELINES[name] == "sd3":
        return "sd3"
    if PIPELINES[name] == "sdxl":
        return "sdxl" if (path / "text_encoder").is_dir() else "sdxl-refiner"
    activation = read_json(path / "text_encoder" / "config.json").get("hidden_act", "quick_gelu")
    return "sd2" if activation == "gelu" else "sd1"


def _class_of(config: Mapping[str, Any], known: Mapping[str, Any], folder: Folder) -> Any:
    name = config.get("_class_name", next(iter(known)))
    if name not in known:
        raise CheckpointError(f"{folder}: a {name} is of no family that is known; nearest: sd1 ({', '.join(known)})")
    return known[name]


def _tensors(folder: Folder, streamed: bool = False) -> dict[str, Stored]:
    source = open_tensors(folder)
    read = functools.partial(stream, source) if streamed else source.stored
    return {_OLD_NAME.sub(lambda m: _OLD_ATTENTION[m[1]], name): read(name) for name in source}


def _spec(family: str, path: Folder, unet: Any, vae: Any) -> Spec:
    scheduler = read_json(path / "scheduler" / "scheduler_config.json")
    levels = vae.get("encoder_block_out_channels") or vae.block_out_channels
    factor = 2 ** (len(levels) - 1)
    flow, wishes = family == "sd3", recommended(path)
    _check_scheduler(scheduler, path / "scheduler" / "scheduler_config.json", flow)
    defaults = Spec(name=family)
    start, end, kind, count = defaults.betas
    scale = vae.get("scaling_factor")
    return Spec(
        name=family,
        prediction="flow" if flow else scheduler.get("prediction_type", defaults.prediction),
        beside=beside_of(unet.in_channels, vae.latent_channels),
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        cell_multiple=unet.get("patch_size", 1),
        scaling_factor=defaults.scaling_factor if scale is None else scale,
        shift_factor=vae.get("shift_factor") or 0.0,
        cfg_scale=wishes.get("cfg_scale", defaults.cfg_scale),
        second_pass=wishes.get("second_pass", defaults.second_pass),
        native_size=_native_size(unet.sample_size, factor),
        betas=(
            scheduler.get("beta_start", start),
            scheduler.get("beta_end", end),
            scheduler.get("beta_schedule", kind),
            scheduler.get("num_train_timesteps", count),
        ),
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        flow_shift=scheduler.get("shift", 1.0) if flow else defaults.flow_shift,
    )


def _native_size(sample_size: int | list[int] | tuple[int, int] | None, factor: int) -> tuple[int, int]:
    """(width, height) in pixels; diffusers gives a latent's side, its height and width, or nothing."""
    if sample_size is None:
        sample_size = 64
    height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return width * factor, height * factor


def recommended(path: Folder) -> dict[str, Any]:
    """What the model's ``recommended.json`` says; nothing where there is none.

    Raises:
        CheckpointError: it can't be read, or a value is not of its kind.
    """
    file = path / RECOMMENDED
    said = read_json(file) if file.is_file() else {}
    lora = said.get("lora", {})
    if not isinstance(lora, dict):
        raise CheckpointError(f"{file}: lora is {lora!r}, not an object")
    for known, given in ((_RECOMMENDABLE, said), (_RECOMMENDABLE_LORA, lora)):
        for key in known.keys() & given.keys():
            kind, words = known[key]
            if not kind(given[key]):
                raise CheckpointError(f"{file}: {key} is {given[key]!r}, not {words}")
    return said


def _number(most: float) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most

    return fits, f"a number from 0 to {most}"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


#: What ``recommended.json`` may say, and what of LoRAs: whether a value is of its kind, and the kind in words.
_RECOMMENDABLE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "cfg_scale": _number(100),
    "second_pass": _number(1),
    "class_cfg_scale": _number(100),
    "class_prompts": (_texts, "a list of texts"),
}
_RECOMMENDABLE_LORA: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "alpha_per_rank": _number(1000),
    "targets": (lambda value: isinstance(value, str), "a text"),
    "lr_scheduler": (lambda value: isinstance(value, str), "a text"),
    "train_text_encoder": (lambda value: isinstance(value, bool), "true or false"),
}


def _check_scheduler(config: Mapping[str, Any], path: Folder, flow: bool) -> None:
    """Refuse training that can't be followed, so that no picture is drawn with another."""
    named = {"prediction_type": _PREDICTIONS, "beta_schedule": KINDS}
    for key, known in named.items():
        value = config.get(key, known[0])
        if value not in known:
            close = nearest(str(value), known) or "known: " + ", ".join(known)
            raise CheckpointError(f"{path}: {key} {value!r} is not known; {close}")
    for key in ("shift", "num_train_timesteps") if flow else ("beta_start", "beta_end", "num_train_timesteps"):
        value = config.get(key, 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise CheckpointError(f"{path}: {key} is {value!r}, not a number above 0")
    for key, what in (("trained_betas", "noise levels of its own"), ("use_dynamic_shifting", "a shift by size")):
        if config.get(key):
            raise CheckpointError(f"{path}: {key}: a model with {what} can't be drawn with yet")


def read_json(path: Folder) -> dict[str, Any]:
    """A configuration file's keys and values.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} bytes")
        content = json.loads(text)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: is missing; a diffusers model needs it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); copy or download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not an object with keys and values; copy or download it again")
    return content

"""A model in diffusers' folder layout: everything is taken from its configuration files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from sfumato.errors import CheckpointError, nearest
from sfumato.families import tokens
from sfumato.families.base import Networks, Spec
from sfumato.families.build import beside_of, build, check_fit, fill, fill_text
from sfumato.families.text import ClipReader
from sfumato.sampling.noise_schedule import KINDS
from sfumato.weights.source import open_part

#: Pipelines that have these three networks and no more.
PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
)
#: Our addition to the layout, optional: what suits the model.
RECOMMENDED = "recommended.json"
_UNETS = {"UNet2DConditionModel": UNet2DConditionModel}
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
#: Attention in autoencoders that were saved before diffusers 0.15, the published Stable Diffusion 1.5 among them.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"(?<=attentions\.0\.)({'|'.join(_OLD_ATTENTION)})(?=\.(weight|bias)$)")


def load(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    """Load the folder's three networks, its tokenizer, and what its scheduler says of the training.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    check_index(path)
    parts = {part: path / part for part in ("unet", "vae", "text_encoder")}
    configs = {part: _read_json(folder / "config.json") for part, folder in parts.items()}
    unet_kind = _class_of(configs["unet"], _UNETS, parts["unet"])
    vae_kind = _class_of(configs["vae"], _VAES, parts["vae"])
    if (kind := configs["text_encoder"].get("model_type", "clip_text_model")) != "clip_text_model":
        raise CheckpointError(f"{parts['text_encoder']}: a {kind} is of no family that is known; nearest: sd1")
    unet = build(lambda: unet_kind.from_config(configs["unet"]), parts["unet"])
    vae = build(lambda: vae_kind.from_config(configs["vae"]), parts["vae"])
    spec = _spec(path, unet.config, vae.config)
    tokenizer = tokens.from_folder(path / "tokenizer")
    unet = fill(unet, _tensors(parts["unet"]), dtype, device, parts["unet"])
    vae = fill(vae, _tensors(parts["vae"]), vae_dtype, device, parts["vae"])
    text_tensors = _tensors(parts["text_encoder"])
    text = fill_text(configs["text_encoder"], text_tensors, dtype, device, parts["text_encoder"])
    return check_fit(Networks(spec, (ClipReader(tokenizer, text),), unet, vae, device), path)


def check_index(path: Path) -> None:
    """Refuse a folder that is not a model, or a model of another family.

    Raises:
        CheckpointError: it has no ``model_index.json``, or one that names another pipeline.
    """
    if not (path / "model_index.json").is_file():
        raise CheckpointError(
            f"{path}: not a diffusers model: it has no model_index.json; "
            "give a folder that has one, or a .safetensors file"
        )
    name = _read_json(path / "model_index.json").get("_class_name")
    if name is not None and name not in PIPELINES:
        raise CheckpointError(
            f"{path}: of no family that is known: its model_index.json names {name}; nearest: sd1 ({PIPELINES[0]})"
        )


def _class_of(config: Mapping[str, Any], known: Mapping[str, Any], folder: Path) -> Any:
    name = config.get("_class_name", next(iter(known)))
    if name not in known:
        raise CheckpointError(f"{folder}: a {name} is of no family that is known; nearest: sd1 ({', '.join(known)})")
    return known[name]


def _tensors(folder: Path) -> dict[str, Tensor]:
    source = open_part(folder)
    return {_OLD_NAME.sub(lambda m: _OLD_ATTENTION[m[1]], name): source.get(name) for name in source}


def _spec(path: Path, unet: Any, vae: Any) -> Spec:
    scheduler = _read_json(path / "scheduler" / "scheduler_config.json")
    levels = vae.get("encoder_block_out_channels") or vae.block_out_channels
    factor = 2 ** (len(levels) - 1)
    _check_scheduler(scheduler, path / "scheduler" / "scheduler_config.json")
    defaults = Spec(name="sd1")
    start, end, kind, count = defaults.betas
    scale = vae.get("scaling_factor")
    return Spec(
        name="sd1",
        prediction=scheduler.get("prediction_type", defaults.prediction),
        beside=beside_of(unet.in_channels, vae.latent_channels),
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        scaling_factor=defaults.scaling_factor if scale is None else scale,
        shift_factor=vae.get("shift_factor") or 0.0,
        cfg_scale=_recommended(path, "cfg_scale", defaults.cfg_scale, 100),
        second_pass=_recommended(path, "second_pass", defaults.second_pass, 1),
        native_size=_native_size(unet.sample_size, factor),
        betas=(
            scheduler.get("beta_start", start),
            scheduler.get("beta_end", end),
            scheduler.get("beta_schedule", kind),
            scheduler.get("num_train_timesteps", count),
        ),
    )


def _native_size(sample_size: int | list[int] | tuple[int, int] | None, factor: int) -> tuple[int, int]:
    """(width, height) in pixels; diffusers gives a latent's side, its height and width, or nothing."""
    if sample_size is None:
        sample_size = 64
    height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return width * factor, height * factor


def recommended(path: Path) -> dict[str, Any]:
    """What the model's ``recommended.json`` says; nothing where there is none.

    Raises:
        CheckpointError: it can't be read.
    """
    file = path / RECOMMENDED
    return _read_json(file) if file.is_file() else {}


def _recommended(path: Path, key: str, default: float, most: float) -> float:
    value = recommended(path).get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise CheckpointError(f"{path / RECOMMENDED}: {key} is {value!r}, not a number from 0 to {most}")
    return value


def _check_scheduler(config: Mapping[str, Any], path: Path) -> None:
    """Refuse training that can't be followed, so that no picture is drawn with another."""
    named = {"prediction_type": _PREDICTIONS, "beta_schedule": KINDS}
    for key, known in named.items():
        value = config.get(key, known[0])
        if value not in known:
            close = nearest(str(value), known) or "known: " + ", ".join(known)
            raise CheckpointError(f"{path}: {key} {value!r} is not known; {close}")
    for key in ("beta_start", "beta_end", "num_train_timesteps"):
        value = config.get(key, 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise CheckpointError(f"{path}: {key} is {value!r}, not a number above 0")
    for key, what in (("trained_betas", "noise levels of its own"), ("rescale_betas_zero_snr", "zero terminal SNR")):
        if config.get(key):
            raise CheckpointError(f"{path}: {key}: a model with {what} can't be drawn with yet")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: is missing; a diffusers model needs it") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error}); copy or download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not an object with keys and values; copy or download it again")
    return content

"""Stable Diffusion 1: an LDM file of any widths, or a diffusers folder of these classes.

Networks are built on the ``meta`` device, where they take no memory, and filled with the file's own mapped tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from sfumato.errors import CheckpointError
from sfumato.families import tokens
from sfumato.families.base import Networks, Spec
from sfumato.weights.keymaps import ldm
from sfumato.weights.source import Header, TensorSource, open_part

#: Present in every LDM file of the family, whatever its widths.
MARKS = (
    ldm.UNET + "input_blocks.0.0.weight",
    ldm.UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ldm.UNET + "out.2.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
    ldm.TEXT + "text_model.embeddings.token_embedding.weight",
)
#: What a file may carry beside the networks: noise tables, training leftovers, position numbers.
_IGNORED = ("model_ema.", "loss.", "log", "betas", "alphas_", "sqrt_", "posterior_", "lvlb_", "scale_factor")
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_HEAD_WIDTH = 64
#: The ``modelspec`` metadata's words for what a network predicts, where a file says so.
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}


def missing(header: Header) -> list[str]:
    """Which of the family's marks the file lacks; none if it is of this family."""
    return [name for name in MARKS if _text_alias(name, header.tensors) is None]


def load(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    """Load a ``.safetensors`` file in the LDM layout, or a diffusers folder.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if path.is_dir():
        return _load_folder(path, dtype, vae_dtype, device)
    return _load_file(path, dtype, vae_dtype, device)


def _text_alias(name: str, known: Iterable[str]) -> str | None:
    """The name as the file has it: the oldest files leave out ``text_model.``."""
    if name in known:
        return name
    old = name.replace("transformer.text_model.", "transformer.")
    return old if old in known else None


def _load_file(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    source = TensorSource(path)
    header = source.header
    if lacking := missing(header):
        raise CheckpointError(
            f"{path}: of no family that is known; nearest: sd1, of whose {len(MARKS)} marks {len(lacking)} are "
            f"missing: {', '.join(lacking[:3])}"
        )
    try:
        unet_shape, vae_shape = ldm.unet_shape(header.tensors), ldm.vae_shape(header.tensors)
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{path}: looks like sd1, but tensor {error} is missing") from error
    unet_names = ldm.unet_names(header.tensors, unet_shape)
    vae_names = ldm.vae_names(header.tensors, vae_shape)
    text_names = {n: n.removeprefix(ldm.TEXT) for n in header.tensors if n.startswith(ldm.TEXT)}
    used = {*unet_names, *vae_names, *text_names}
    unknown = [n for n in header.tensors if n not in used and not n.startswith(_IGNORED)]
    if unknown:
        some = ", ".join(sorted(unknown)[:3])
        raise CheckpointError(f"{path}: {len(unknown)} tensors are not part of sd1, such as {some}")

    def tensors(names: Mapping[str, str]) -> dict[str, Tensor]:
        return {new: source.get(old) for old, new in names.items()}

    unet = _fill(UNet2DConditionModel, unet_config(unet_shape), tensors(unet_names), dtype, device, path)
    vae = _fill(AutoencoderKL, vae_config(vae_shape), tensors(vae_names), vae_dtype, device, path)
    text = _fill_text(text_config(header), tensors(text_names), dtype, device, path)
    factor = 2 ** (len(vae_shape.channels) - 1)
    side = 64 * factor
    spec = Spec(
        name="sd1",
        prediction=_PREDICTIONS.get(header.metadata.get("modelspec.prediction_type", ""), "epsilon"),
        latent_channels=vae_shape.latent_channels,
        latent_factor=factor,
        native_size=(side, side),
    )
    return Networks(spec, tokens.clip(), text, unet, vae, device)


def unet_config(shape: ldm.UNetShape) -> dict[str, Any]:
    """The diffusers configuration of a UNet: LDM's v1 has 8 heads at every width."""
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in shape.attention]
    return {
        "sample_size": 64,
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "block_out_channels": shape.channels,
        "layers_per_block": shape.layers,
        "down_block_types": tuple(down),
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "transformer_layers_per_block": shape.depth,
        "cross_attention_dim": shape.context,
        "attention_head_dim": 8,
        "use_linear_projection": shape.linear_projection,
        "norm_num_groups": groups_of(shape.channels),
    }


def vae_config(shape: ldm.VaeShape) -> dict[str, Any]:
    """The diffusers configuration of LDM's autoencoder."""
    count = len(shape.channels)
    return {
        "block_out_channels": shape.channels,
        "layers_per_block": shape.layers,
        "latent_channels": shape.latent_channels,
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
        "norm_num_groups": groups_of(shape.channels),
        "sample_size": 512,
        "scaling_factor": 0.18215,
    }


def text_config(header: Header) -> dict[str, Any]:
    """The CLIP text model's configuration; a head is 64 wide, as in all of OpenAI's."""
    prefix = next(n for n in header.tensors if n.endswith("embeddings.token_embedding.weight"))
    prefix = prefix.removesuffix("embeddings.token_embedding.weight")
    vocabulary, width = header.tensors[prefix + "embeddings.token_embedding.weight"].shape
    layers = {n.removeprefix(prefix + "encoder.layers.").split(".")[0] for n in header.tensors if prefix + "enc" in n}
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": header.tensors[prefix + "encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": header.tensors[prefix + "embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def groups_of(widths: tuple[int, ...]) -> int:
    """How many groups a norm has: 32 as in LDM, or for narrower models the most that divide every width."""
    groups = 32
    while any(width % groups for width in widths):
        groups //= 2
    return groups


def _load_folder(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    if not (path / "model_index.json").is_file():
        raise CheckpointError(f"{path}: a folder without model_index.json is not a diffusers model; nearest: sd1")
    configs = {part: _read_json(path / part / "config.json") for part in ("unet", "vae", "text_encoder")}
    kind = configs["vae"].get("_class_name", "AutoencoderKL")
    if kind not in _VAES or configs["unet"].get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise CheckpointError(f"{path}: of no family that is known (its autoencoder is a {kind}); nearest: sd1")
    parts = {}
    for name in configs:
        source = open_part(path / name)
        parts[name] = {key: source.get(key) for key in source}
    unet = _fill(UNet2DConditionModel, configs["unet"], parts["unet"], dtype, device, path / "unet")
    vae = _fill(_VAES[kind], configs["vae"], parts["vae"], vae_dtype, device, path / "vae")
    text = _fill_text(configs["text_encoder"], parts["text_encoder"], dtype, device, path / "text_encoder")
    return Networks(_folder_spec(path, unet, vae), tokens.from_folder(path / "tokenizer"), text, unet, vae, device)


def _folder_spec(path: Path, unet: Any, vae: Any) -> Spec:
    scheduler = _read_json(path / "scheduler" / "scheduler_config.json")
    levels = vae.config.get("encoder_block_out_channels") or vae.config.block_out_channels
    factor = 2 ** (len(levels) - 1)
    side = unet.config.sample_size * factor
    return Spec(
        name="sd1",
        prediction=scheduler.get("prediction_type", "epsilon"),
        latent_channels=vae.config.latent_channels,
        latent_factor=factor,
        scaling_factor=vae.config.scaling_factor,
        shift_factor=getattr(vae.config, "shift_factor", None) or 0.0,
        native_size=(side, side),
        betas=(
            scheduler.get("beta_start", 0.00085),
            scheduler.get("beta_end", 0.012),
            scheduler.get("beta_schedule", "scaled_linear"),
            scheduler.get("num_train_timesteps", 1000),
        ),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: is missing; a diffusers model needs it") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from error


def _fill(
    kind: type[nn.Module], config: Mapping[str, Any], tensors: dict[str, Tensor], dtype: torch.dtype,
    device: torch.device, path: Path,
) -> nn.Module:  # fmt: skip
    """Build on ``meta``, check names and shapes, and put the tensors in their places without a copy."""
    with torch.device("meta"):
        model = kind.from_config(dict(config))  # pyright: ignore[reportAttributeAccessIssue]
    return _assign(model, tensors, dtype, device, path)


def _fill_text(
    config: Mapping[str, Any], tensors: dict[str, Tensor], dtype: torch.dtype, device: torch.device, path: Path
) -> nn.Module:
    """The text encoder; its names' ``text_model.`` comes and goes with transformers' versions."""
    notes = ("architectures", "torch_dtype", "dtype", "transformers_version")
    known = {k: v for k, v in config.items() if k not in notes}
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**known))
    prefix = "text_model." if any(n.startswith("text_model.") for n in model.state_dict()) else ""
    named = {prefix + n.removeprefix("text_model."): t for n, t in tensors.items() if not n.endswith("position_ids")}
    return _assign(model, named, dtype, device, path)


def _assign(
    model: nn.Module, tensors: dict[str, Tensor], dtype: torch.dtype, device: torch.device, path: Path
) -> nn.Module:
    wanted = model.state_dict()
    lacking, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if lacking or unknown:
        raise CheckpointError(
            f"{path}: {len(lacking)} tensors are missing and {len(unknown)} unknown for {type(model).__name__}: "
            + ", ".join((lacking + unknown)[:4])
        )
    ready = {}
    for name, target in wanted.items():
        tensor = tensors.pop(name)  # dropped when converted, so that file and network are not in memory both
        if tensor.shape != target.shape and tensor.numel() == target.numel():
            tensor = tensor.reshape(target.shape)
        if tensor.shape != target.shape:
            raise CheckpointError(f"{path}: {name} is {tuple(tensor.shape)}, not {tuple(target.shape)}")
        ready[name] = tensor.to(device, dtype if tensor.is_floating_point() else None)
    model.load_state_dict(ready, assign=True)
    _make_position_ids(model, device)
    return model.eval().requires_grad_(False)


def _make_position_ids(model: nn.Module, device: torch.device) -> None:
    """The one buffer that no file holds: CLIP's position numbers."""
    for module in model.modules():
        ids = getattr(module, "position_ids", None)
        if isinstance(ids, Tensor) and ids.is_meta:
            module.position_ids = torch.arange(ids.shape[-1], device=device).expand(ids.shape)

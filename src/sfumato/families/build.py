"""Networks from configurations and tensors: built on ``meta``, where they take no memory, and filled without a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sfumato.errors import CheckpointError
from sfumato.families.base import Beside, Networks, Reader, Spec
from sfumato.families.clip_text import CLIPTextModel, CLIPTextModelWithProjection, TextConfig
from sfumato.families.joint import JointWords, T5Reader
from sfumato.families.sized import WordsAndSize
from sfumato.families.t5_text import T5Config, T5Encoder
from sfumato.quant import layers, streamed
from sfumato.quant.unpack import unpack
from sfumato.weights.blocks import AnyStored, Blocks, Stored
from sfumato.weights.packed_folder import Folder
from sfumato.weights.remote import Remote

#: Options of a UNet that need more input than latents, a time and words, and the values that do not.
_PLAIN: Mapping[str, tuple[str | None, ...]] = {
    "addition_embed_type": (None, "text", "text_time"),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
}
#: What torch adds to numbers of any other floating type.
_ADDED = (torch.float32, torch.float16, torch.bfloat16)
#: In some files beside the text encoder proper: position numbers, and what only images need.
PROJECTION = "text_projection.weight"
_TEXT_EXTRAS = ("position_ids", PROJECTION, "logit_scale")


def build(make: Callable[[], Any], path: Folder) -> Any:
    """The network that ``make`` builds, without memory for its weights.

    Raises:
        CheckpointError: the libraries refuse the configuration.
    """
    try:
        with torch.device("meta"), _WithoutNumbers():
            return make()
    except Exception as error:  # the libraries' own errors have no narrower base in common
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: no network can be built from its configuration: {reason}") from error


class _WithoutNumbers(TorchFunctionMode):
    """Inside, ``meta`` tensors are not initialized: it changes nothing, and the first time imports a compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is Tensor.div and not isinstance(args[1], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


def fill(
    model: nn.Module, tensors: dict[str, AnyStored], dtype: torch.dtype, device: torch.device, path: Folder
) -> nn.Module:
    """The network in ``eval`` mode with these tensors as its weights, each copied only if its type or device differs.
    Buffers keep the file's type: Stable Diffusion 3's table of positions is large, and a picture needs little of it.

    Weights that are packed stay so where a layer can hold them: see :mod:`sfumato.quant.layers`. Those that are to be
    streamed stay in the file: see :mod:`sfumato.quant.streamed`.

    Args:
        tensors: by the network's names; emptied on the way, so that file and network are not in memory both.
        path: for messages.

    Raises:
        CheckpointError: tensors are missing, unknown, or of wrong shape or type.
    """
    wanted, buffers = model.state_dict(), {name for name, _ in model.named_buffers()}
    _check_names(wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys(), model, path)
    ready = {}
    for name, target in wanted.items():
        tensor = _fitted(name, tensors.pop(name), target, path)
        if isinstance(tensor, Blocks):
            tensor = tensor.to(device)
            if layers.place(model, name, tensor, dtype):
                continue
            tensor = unpack(tensor, dtype)
        elif isinstance(tensor, Remote):
            if streamed.place(model, name, tensor, dtype):
                continue
            tensor = tensor.read()
        stays = not tensor.is_floating_point() or (name in buffers and tensor.dtype in _ADDED)
        kind = None if stays else dtype
        ready[name] = tensor.to(device, kind, memory_format=_order(tensor, dtype, device))
    model.load_state_dict(ready, assign=True)
    parts = chain(model.named_parameters(), model.named_buffers())
    if empty := [name for name, tensor in parts if tensor.is_meta and device.type != "meta"]:
        raise CheckpointError(f"{path}: a {type(model).__name__} with {', '.join(empty[:3])} can't be filled")
    return model.eval().requires_grad_(False)


def _order(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> torch.memory_format:
    """Convolutions' weights go to the order that they are used in by the copy that changes their type, if one does.

    To bfloat16 they keep their own: on a CPU they are packed from it (:mod:`sfumato.runtime.packed`).
    """
    copied = tensor.dtype is not dtype and dtype is not torch.bfloat16 and device.type != "mps"
    return torch.channels_last if copied and tensor.ndim == 4 else torch.preserve_format


def fill_text(
    config: Mapping[str, Any],
    tensors: dict[str, AnyStored],
    dtype: torch.dtype,
    device: torch.device,
    path: Folder,
    *,
    projected: bool = False,
) -> nn.Module:
    """CLIP's text encoder; files' names may begin with ``text_model.``, as with older versions of transformers.

    Args:
        projected: with the projection of the text as a whole.
    """
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    model = build(lambda: kind(TextConfig.of(config)), path)
    prefix = "text_model." if projected else ""
    named = {}
    for name in list(tensors):
        tensor = tensors.pop(name)
        if projected and name == PROJECTION:
            named[name] = tensor
        elif not name.endswith(_TEXT_EXTRAS):
            named[prefix + name.removeprefix("text_model.")] = tensor
    return fill(model, named, dtype, device, path)


def fill_t5(
    config: Mapping[str, Any], tensors: dict[str, AnyStored], dtype: torch.dtype, device: torch.device, path: Folder
) -> nn.Module:
    """T5's encoder. In the place of float16 it is in bfloat16: its numbers are larger than float16's."""
    model = build(lambda: T5Encoder(T5Config.of(config)), path)
    return fill(model, tensors, torch.bfloat16 if dtype is torch.float16 else dtype, device, path)


def beside_of(in_channels: int, latent_channels: int) -> Beside:
    """What a UNet of so many channels takes beside the latent: :attr:`Spec.beside`."""
    kinds: Mapping[int, Beside] = {2 * latent_channels: "edit", 2 * latent_channels + 1: "inpaint"}
    return kinds.get(in_channels, "")


def check_fit(networks: Networks, path: Folder) -> Networks:
    """The same networks, if they can draw together.

    Raises:
        CheckpointError: one gives what the next can't take, or the UNet wants input of another kind.
    """
    unet, spec = networks.unet.config, networks.spec
    if unet.in_channels != spec.latent_channels and not spec.beside:
        depth = ", as for drawing by depth" if unet.in_channels == spec.latent_channels + 1 else ""
        raise CheckpointError(
            f"{path}: its UNet takes {unet.in_channels} channels and a latent has {spec.latent_channels}{depth}; "
            "such a model is of no family that is known"
        )
    if isinstance(networks.conditioner, JointWords):
        _check_joint(networks, path)
    if (unet.get("addition_embed_type") == "text_time") != isinstance(networks.conditioner, WordsAndSize):
        raise CheckpointError(f"{path}: its UNet and its text encoders are not of one family")
    for option, plain in _PLAIN.items():
        if (value := getattr(unet, option, None)) not in plain:
            raise CheckpointError(f"{path}: its UNet's {option} is {value!r}, which is of no family that is known")
    words = sum(reader.network.config.hidden_size for reader in networks.readers)
    wanted = unet.get("cross_attention_dim")
    if isinstance(wanted, int) and wanted != words:
        raise CheckpointError(
            f"{path}: its text encoder gives {words} numbers a word and its UNet takes {wanted}; they are not of one "
            "model"
        )
    for reader in networks.readers:
        if not isinstance(reader, T5Reader):
            _check_reader(reader, spec, path)
    return networks


def _check_joint(networks: Networks, path: Folder) -> None:
    config = networks.unet.config
    clips = [reader.network.config for reader in networks.readers if not isinstance(reader, T5Reader)]
    words = sum(clip.hidden_size for clip in clips)
    pooled = sum(clip.projection_dim for clip in clips)
    if words > config.joint_attention_dim or pooled != config.pooled_projection_dim:
        raise CheckpointError(
            f"{path}: its text encoders give {words} numbers a word and {pooled} for a text, and its transformer takes "
            f"{config.joint_attention_dim} and {config.pooled_projection_dim}; they are not of one model"
        )
    for reader in networks.readers:
        t5 = reader.network.config
        if isinstance(reader, T5Reader) and t5.hidden_size != config.joint_attention_dim:
            raise CheckpointError(
                f"{path}: its T5 gives {t5.hidden_size} numbers a word and its transformer takes "
                f"{config.joint_attention_dim}; they are not of one model"
            )
        if isinstance(reader, T5Reader) and reader.tokenizer.size > t5.vocab_size:
            raise CheckpointError(f"{path}: T5's tokenizer has {reader.tokenizer.size} tokens and T5 {t5.vocab_size}")


def _check_reader(reader: Reader, spec: Spec, path: Folder) -> None:
    text, tokenizer = reader.network.config, reader.tokenizer
    if tokenizer.size > text.vocab_size:
        raise CheckpointError(
            f"{path}: its tokenizer has {tokenizer.size} tokens and its text encoder {text.vocab_size}; "
            "the model's own vocab.json and merges.txt belong in its folder tokenizer"
        )
    if text.max_position_embeddings < spec.context_length:
        raise CheckpointError(
            f"{path}: its text encoder reads {text.max_position_embeddings} tokens, not {spec.context_length}"
        )


def _check_names(lacking: set[str], unknown: set[str], model: nn.Module, path: Folder) -> None:
    said = [
        f"{len(names)} {what} for {type(model).__name__}, such as {', '.join(sorted(names)[:3])}"
        for names, what in ((lacking, "missing"), (unknown, "unknown"))
        if names
    ]
    if said:
        raise CheckpointError(f"{path}: tensors do not match: {'; '.join(said)}")


def _fitted(name: str, tensor: Stored, target: Tensor, path: Folder) -> Stored:
    """The tensor in the network's shape: a linear layer and a convolution of 1x1 hold the same numbers."""
    if tensor.is_floating_point() != target.is_floating_point():
        raise CheckpointError(f"{path}: {name} is of type {tensor.dtype}, which is not a weight's")
    if _matrix(tensor.shape) != _matrix(target.shape):
        raise CheckpointError(f"{path}: {name} is {tuple(tensor.shape)}, not {tuple(target.shape)}")
    return tensor.reshape(target.shape)


def _matrix(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[:2]) if shape[2:] == (1, 1) else tuple(shape)

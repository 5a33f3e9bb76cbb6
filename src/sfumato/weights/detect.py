"""What a file is, from its tensors' names and shapes alone, and which network each tensor is of. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sfumato.weights.header import Header, TensorInfo

#: What can be loaded and drawn with today; the registry of families has the same names.
LOADABLE = ("sd1", "sd2", "sdxl", "sdxl-refiner", "sd3")
LABELS: Mapping[str, str] = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "Stable Diffusion XL refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
    "": "unknown",
}
#: Networks by the first word of their tensors' names, in the layouts that files have.
PARTS: Mapping[str, str] = {
    "model": "unet", "unet": "unet", "transformer": "unet", "first_stage_model": "vae", "vae": "vae",
    "cond_stage_model": "text_encoder", "conditioner": "text_encoder", "text_encoder": "text_encoder",
    "text_encoder_2": "text_encoder", "text_encoder_3": "text_encoder", "text_encoders": "text_encoder",
    "model_ema": "ema",
}  # fmt: skip
#: The width of the words that a UNet attends to, by family: CLIP-L, OpenCLIP-H, both of SDXL's, its second alone.
_CONTEXTS = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}
_VARIANTS = {4: "", 9: "inpainting", 8: "pix2pix"}
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}
_CODERS = {"first_stage_model", "vae"}
_TEXT_ENCODERS = {"cond_stage_model", "conditioner", "text_encoder", "text_encoders"}
_LORA = (".lora_down.", ".lora_A.", ".lora.down.", ".lora.up.", ".lora_linear_layer.")
_OTHER_ADAPTERS = {".hada_w1_a": "LoHa", ".lokr_w1": "LoKr", ".dora_scale": "DoRA"}
#: Names that no other network has, transformers' and llama.cpp's, and where T5 lies in a whole model.
_T5 = re.compile(r"(^|\.)(encoder\.block\.\d+\.layer\.\d+\.|enc\.blk\.\d+\.)")
_T5_HOMES = ("text_encoders.t5xxl.", "text_encoder_3.")
_EMBEDDINGS = ("string_to_param", "emb_params", "clip_l", "clip_g")


@dataclass(frozen=True)
class Kind:
    """What a file is.

    ``kind``: checkpoint, unet, vae, tiny vae, text encoder, lora, embedding, controlnet, upscaler or unknown.
    ``family``: a key of :data:`LABELS`. ``variant``: of the UNet's input or of the adapter, or none.
    ``prediction``: epsilon, v_prediction, flow, or none where the file does not say.
    """

    kind: str
    family: str = ""
    variant: str = ""
    prediction: str = ""


def detect(header: Header) -> Kind:
    """What a file with this header is."""
    names, text = header.tensors, "\n".join(header.tensors)
    if (adapter := _adapter(names, text)) is not None:
        return adapter
    heads = {name.partition(".")[0] for name in names}
    if heads & {"control_model", "input_hint_block", "controlnet_cond_embedding", "controlnet_down_blocks"}:
        return Kind("controlnet")
    if "joint_blocks." in text:
        return Kind(_whole(heads, names), "sd3", "", "flow")
    if "double_blocks." in text:
        return Kind(_whole(heads, names), "flux", "", "flow")
    context = _context(names)
    if context is None:
        return _without_unet(heads, names)
    family = _family(heads, names, context)
    variant = _VARIANTS.get(_in_channels(names), "")
    return Kind(_whole(heads, names), family, variant, _prediction(header, family))


def needs(header: Header) -> str:
    """What a UNet alone lacks, and how it is given: part of a message."""
    heads = {name.partition(".")[0] for name in header.tensors}
    family = detect(header).family
    lacking = [] if heads & _CODERS else ["--vae FILE (an autoencoder)"]
    if not heads & _TEXT_ENCODERS:
        two = family in ("sdxl", "sd3")
        what = "its two CLIP text encoders" if two else "its CLIP text encoder"
        lacking.append(f"--text_encoder {'FILE,FILE' if two else 'FILE'} ({what})")
    return f"a UNet of {LABELS[family]} alone; give {' and '.join(lacking)}"


def part_of(name: str, kind: str = "checkpoint") -> str:
    """The network that a tensor is of: ``unet``, ``vae``, ``text_encoder``, ``ema`` or ``other``."""
    part = PARTS.get(name.partition(".")[0])
    return part or {"unet": "unet", "vae": "vae", "tiny vae": "vae", "text encoder": "text_encoder"}.get(kind, "other")


def is_t5(names: Iterable[str]) -> bool:
    """Whether a file with tensors of these names has T5's encoder."""
    return any(_T5.search(name) for name in names)


def of_t5(name: str) -> bool:
    """Whether a whole model's tensor of this name is T5's."""
    return name.startswith(_T5_HOMES)


def _adapter(names: Mapping[str, TensorInfo], text: str) -> Kind | None:
    """A LoRA or an embedding."""
    if len(names) < 16 and any(name.startswith(_EMBEDDINGS) for name in names):
        return Kind("embedding", "sdxl" if "clip_g" in names else _by_width(names.values()))
    if not any(mark in text for mark in (*_LORA, *_OTHER_ADAPTERS)):
        return None
    variant = next((label for mark, label in _OTHER_ADAPTERS.items() if mark in text), "LoRA")
    if variant == "LoRA" and any(len(info.shape) == 4 and info.shape[-1] > 1 for info in names.values()):
        variant = "LoCon"
    second = any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in names)
    return Kind("lora", "sdxl" if second else _adapter_family(names), variant)


def _adapter_family(names: Mapping[str, TensorInfo]) -> str:
    widths = {
        info.shape[1]
        for name, info in names.items()
        if "attn2" in name and "to_k" in name and "down" in name.rpartition("to_k")[2] and len(info.shape) > 1
    }
    return next((_CONTEXTS[width] for width in widths if width in _CONTEXTS), "")


def _by_width(infos: Iterable[TensorInfo]) -> str:
    widths = {info.shape[-1] for info in infos if info.shape}
    return next((_CONTEXTS[width] for width in widths if width in (768, 1024)), "")


def _context(names: Mapping[str, TensorInfo]) -> int | None:
    """The width of the words that the UNet attends to; None if there is no such UNet."""
    for name, info in names.items():
        if name.endswith("attn2.to_k.weight") and len(info.shape) == 2:
            return info.shape[1]
    return None


def _in_channels(names: Mapping[str, TensorInfo]) -> int:
    for name in ("model.diffusion_model.input_blocks.0.0.weight", "unet.conv_in.weight", "conv_in.weight"):
        if name in names and len(names[name].shape) == 4:
            return names[name].shape[1]
    return 4


def _family(heads: set[str], names: Iterable[str], context: int) -> str:
    """By the text encoders where the file has them, else by the width of the words."""
    if "conditioner" in heads:
        first = any(name.startswith("conditioner.embedders.0.transformer.") for name in names)
        return "sdxl" if first else "sdxl-refiner"
    if "cond_stage_model" in heads:
        return "sd2" if any(name.startswith("cond_stage_model.model.") for name in names) else "sd1"
    if any(name.endswith("label_emb.0.0.weight") for name in names):
        return "sdxl-refiner" if _CONTEXTS.get(context) == "sdxl-refiner" else "sdxl"
    return _CONTEXTS.get(context, "sd1")


def _whole(heads: set[str], names: Iterable[str]) -> str:
    return "checkpoint" if heads & _TEXT_ENCODERS and heads & _CODERS else "unet"


def _prediction(header: Header, family: str) -> str:
    said = header.metadata.get("modelspec.prediction_type", "")
    if said in _PREDICTIONS:
        return _PREDICTIONS[said]
    if "v_pred" in header.tensors:
        return "v_prediction"
    return "" if family == "sd2" else "epsilon"


def _without_unet(heads: set[str], names: Mapping[str, TensorInfo]) -> Kind:
    if any("token_embedding.weight" in name for name in names):
        return Kind("text encoder")
    if is_t5(names):
        return Kind("text encoder", "sd3", "T5")
    inside = {name.removeprefix("first_stage_model.").removeprefix("vae.") for name in names}
    if any(name.startswith("decoder.conv_in.") for name in inside) or "post_quant_conv.weight" in inside:
        return Kind("vae")
    alone = {"1.weight", "3.conv.0.weight"} <= inside
    if alone or any(name.startswith(("decoder.layers.", "taesd_decoder.", "decoder.1.")) for name in inside):
        return Kind("tiny vae")
    if any(name.startswith(("model.0.weight", "body.0.", "conv_first.", "RRDB_trunk.")) for name in inside):
        return Kind("upscaler")
    if any(len(info.shape) == 2 and info.shape[-1] in _CONTEXTS for info in names.values()) and len(names) < 4:
        return Kind("embedding", _by_width(names.values()))
    return Kind("unknown")

"""Tiny models of the later families with random weights, as single files and as diffusers pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from checkpoints import make_networks
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from sfumato.families import t5_tokens, tokens
from sfumato.families.configs import groups_of
from sfumato.weights.keymaps import ldm, ldm_names

#: OpenCLIP's names in a layer, and transformers'.
LAYER = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
         "mlp.c_proj": "mlp.fc2"}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model's networks as diffusers and transformers have them; those that it lacks are None."""

    family: str
    unet: Any
    vae: AutoencoderKL
    text_encoder: Any = None
    text_encoder_2: Any = None
    text_encoder_3: Any = None


def make_unet(
    widths: tuple[int, ...], context: int, depth: int | tuple[int, ...] = 1, attention: tuple[bool, ...] | None = None,
    layers: int = 1, channels: int = 4, **more: Any,
) -> UNet2DConditionModel:  # fmt: skip
    """A UNet with linear projections and heads that are 64 wide, as all after Stable Diffusion 1, if no ``more`` says
    otherwise.
    """
    attention = attention or (*(True for _ in widths[1:]), False)
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention)
    plain = {"attention_head_dim": tuple(width // 64 for width in widths), "use_linear_projection": True}
    return UNet2DConditionModel(
        block_out_channels=widths, layers_per_block=layers, cross_attention_dim=context, in_channels=channels,
        down_block_types=down, up_block_types=tuple(n.replace("Down", "Up") for n in reversed(down)), sample_size=64,
        transformer_layers_per_block=depth, norm_num_groups=groups_of(widths), **plain | more,
    ).eval()  # fmt: skip


def make_text(width: int, layers: int, projection: int | None = None, act: str = "gelu") -> Any:
    """A text encoder of CLIP's kind; with a projection, of the class that has one."""
    kind = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, hidden_act=act,
        num_attention_heads=width // 64, projection_dim=projection or width, bos_token_id=49406, eos_token_id=49407,
        pad_token_id=49407,
    )  # fmt: skip
    return kind(config).eval()


def make_sd2(seed: int = 0, widths: tuple[int, ...] = (64, 128), context: int = 64, **more: Any) -> Model:
    """Stable Diffusion 2: one text encoder, without the last layer that it was trained with."""
    torch.manual_seed(seed)
    vae = make_networks(seed)[1]
    return Model("sd2", make_unet(widths, context, **more), vae, make_text(context, 2))


def make_sdxl(
    seed: int = 0, widths: tuple[int, ...] = (64, 128), depth: tuple[int, ...] = (1, 2), time: int = 16,
    projection: int = 96, **more: Any,
) -> Model:  # fmt: skip
    """Stable Diffusion XL's base: no attention in the first level, more of it further down."""
    torch.manual_seed(seed)
    vae = make_networks(seed)[1]
    vae.register_to_config(scaling_factor=0.13025)
    unet = make_unet(
        widths, 192, depth, (False, *(True for _ in widths[1:])), addition_embed_type="text_time",
        addition_time_embed_dim=time, projection_class_embeddings_input_dim=projection + 6 * time, **more,
    )  # fmt: skip
    if len(set(depth[1:])) == 1:  # as a file tells it
        unet.register_to_config(transformer_layers_per_block=depth[-1])
    return Model("sdxl", unet, vae, make_text(64, 3, act="quick_gelu"), make_text(128, 2, projection))


def make_refiner(seed: int = 0, time: int = 16, projection: int = 128) -> Model:
    """Stable Diffusion XL's refiner: the second text encoder alone, and a score in the place of the wished size."""
    torch.manual_seed(seed)
    vae = make_networks(seed)[1]
    vae.register_to_config(scaling_factor=0.13025)
    unet = make_unet(
        (64, 64, 128), 128, 2, (False, True, False), addition_embed_type="text_time", addition_time_embed_dim=time,
        projection_class_embeddings_input_dim=projection + 5 * time,
    )  # fmt: skip
    return Model("sdxl-refiner", unet, vae, None, make_text(128, 3, projection))


def make_sd3(
    seed: int = 0,
    layers: int = 2,
    heads: int = 2,
    context: int = 256,
    twice: tuple[int, ...] = (),
    normed: bool = False,
    t5: bool = False,
) -> Model:
    """Stable Diffusion 3: a transformer, 16 latent channels; with second attention and norms, 3.5."""
    torch.manual_seed(seed)
    transformer = SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=16, out_channels=16, num_layers=layers, attention_head_dim=64,
        num_attention_heads=heads, joint_attention_dim=context, caption_projection_dim=64 * heads,
        pooled_projection_dim=64 + 128, pos_embed_max_size=24, dual_attention_layers=twice,
        qk_norm="rms_norm" if normed else None,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=1, latent_channels=16, norm_num_groups=32, scaling_factor=1.5305,
        shift_factor=0.0609, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    first = make_text(64, 2, 64, act="quick_gelu")
    first.text_projection.weight.data = torch.eye(64)  # single files have none, and mean this
    third = make_t5(context) if t5 else None
    return Model("sd3", transformer.eval(), vae.eval(), first, make_text(128, 3, 128), third)


def make_t5(width: int, layers: int = 2, heads: int = 3, inner: int = 96, vocabulary: int = 32128) -> T5EncoderModel:
    """T5's encoder, version 1.1; its numbers are larger than a fresh one's, so that they count in a picture."""
    config = T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=16, d_ff=inner, num_layers=layers, num_heads=heads,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    made = T5EncoderModel(config).eval()
    with torch.no_grad():
        for block in made.encoder.block:
            block.layer[0].SelfAttention.q.weight.mul_(8)
        made.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.mul_(8)
    return made


def mmdit(transformer: Any) -> dict[str, Tensor]:
    """Stable Diffusion 3's transformer under its first names."""
    own, out = transformer.state_dict(), {}
    last = transformer.config.num_layers - 1

    def put(old: str, *new: str, swapped: bool = False) -> None:
        for kind in ("weight", "bias"):
            if f"{new[0]}.{kind}" in own:
                tensors = [own[f"{one}.{kind}"] for one in new]
                tensors = [torch.cat(tensors[0].chunk(2)[::-1])] if swapped else tensors
                out[f"model.diffusion_model.{old}.{kind}"] = torch.cat(tensors)

    out["model.diffusion_model.pos_embed"] = own["pos_embed.pos_embed"]
    put("x_embedder.proj", "pos_embed.proj")
    put("context_embedder", "context_embedder")
    for layer in (0, 2):
        put(f"t_embedder.mlp.{layer}", f"time_text_embed.timestep_embedder.linear_{layer // 2 + 1}")
        put(f"y_embedder.mlp.{layer}", f"time_text_embed.text_embedder.linear_{layer // 2 + 1}")
    put("final_layer.linear", "proj_out")
    put("final_layer.adaLN_modulation.1", "norm_out.linear", swapped=True)
    for k in range(last + 1):
        old, new = f"joint_blocks.{k}.", f"transformer_blocks.{k}."
        for name in ("attn", "attn2"):
            put(f"{old}x_block.{name}.qkv", *(f"{new}{name}.to_{one}" for one in "qkv"))
            put(f"{old}x_block.{name}.proj", f"{new}{name}.to_out.0")
            for one in "qk":
                put(f"{old}x_block.{name}.ln_{one}", f"{new}{name}.norm_{one}")
        put(f"{old}context_block.attn.qkv", *(f"{new}attn.add_{one}_proj" for one in "qkv"))
        put(f"{old}context_block.attn.proj", f"{new}attn.to_add_out")
        for one in "qk":
            put(f"{old}context_block.attn.ln_{one}", f"{new}attn.norm_added_{one}")
        put(f"{old}x_block.adaLN_modulation.1", f"{new}norm1.linear")
        put(f"{old}context_block.adaLN_modulation.1", f"{new}norm1_context.linear", swapped=k == last)
        for side, ff in (("x", "ff"), ("context", "ff_context")):
            put(f"{old}{side}_block.mlp.fc1", f"{new}{ff}.net.0.proj")
            put(f"{old}{side}_block.mlp.fc2", f"{new}{ff}.net.2")
    return out


def write_file(path: Path, model: Model, metadata: dict[str, str] | None = None) -> Path:
    """The model as one ``.safetensors`` file under the names that it was published with."""
    if model.family == "sd3":
        out = mmdit(model.unet)
        for name, text in (("clip_l", model.text_encoder), ("clip_g", model.text_encoder_2)):
            own = {n: t for n, t in text.state_dict().items() if name == "clip_g" or n != "text_projection.weight"}
            out |= {f"text_encoders.{name}.transformer.{n}": t for n, t in own.items()}
        if model.text_encoder_3 is not None:
            out |= {f"text_encoders.t5xxl.transformer.{n}": t for n, t in t5_tensors(model.text_encoder_3).items()}
    else:
        out = _named(model.unet, ldm_names.unet(model.unet.state_dict(), ldm.configured_shape(model.unet.config)))
    out |= _named(model.vae, ldm_names.vae(model.vae.state_dict(), len(model.vae.config.block_out_channels)))
    for name, tensor in out.items():
        if ".mid.attn_1." in name and tensor.ndim == 2:
            out[name] = tensor[:, :, None, None]
    if model.family == "sd1":
        out |= _named(model.text_encoder, ldm_names.text(model.text_encoder.state_dict()))
    elif model.family == "sd2":
        out |= open_clip(model.text_encoder, "cond_stage_model.model.", unused_layer=True)
    elif model.family == "sdxl":
        first = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in model.text_encoder.state_dict().items()}
        out |= {f"conditioner.embedders.0.transformer.{n}": t for n, t in first.items()}
        out |= open_clip(model.text_encoder_2, "conditioner.embedders.1.model.")
    elif model.family == "sdxl-refiner":
        out |= open_clip(model.text_encoder_2, "conditioner.embedders.0.model.")
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, path, metadata)
    return path


def t5_tensors(t5: T5EncoderModel) -> dict[str, Tensor]:
    """T5's tensors; its table of words, which it has under two names, once."""
    return {name: t for name, t in t5.state_dict().items() if name != "encoder.embed_tokens.weight"}


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """transformers' tokenizer of T5's vocabulary."""
    inner = Tokenizer.from_str(t5_tokens.t5()._tokenizer.to_str())
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _named(network: torch.nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    return {names[name]: tensor for name, tensor in network.state_dict().items()}


def open_clip(text: Any, prefix: str, *, unused_layer: bool = False) -> dict[str, Tensor]:
    """A text encoder's tensors under OpenCLIP's names, if wished with one more layer, of other numbers."""
    own = {n.removeprefix("text_model."): t for n, t in text.state_dict().items()}
    out = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "logit_scale": torch.ones(()),
        "text_projection": own.get(
            "text_projection.weight", torch.zeros(text.config.hidden_size, text.config.hidden_size)
        ).t(),
    }
    count = text.config.num_hidden_layers
    for layer in range(count + unused_layer):
        old, new = f"encoder.layers.{min(layer, count - 1)}.", f"transformer.resblocks.{layer}."
        scale = 1.0 if layer < count else 7.0
        for kind in ("weight", "bias"):
            three = [own[f"{old}self_attn.{one}_proj.{kind}"] for one in "qkv"]
            out[f"{new}attn.in_proj_{kind}"] = torch.cat(three) * scale
            for theirs, ours in LAYER.items():
                out[f"{new}{theirs}.{kind}"] = own[f"{old}{ours}.{kind}"] * scale
    return {prefix + name: tensor for name, tensor in out.items()}


def tokenizer(folder: Path, pad: str) -> CLIPTokenizer:
    """transformers' tokenizer of CLIP's vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens.clip().save(folder)
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token=pad)


def pipeline(model: Model, folder: Path, prediction: str = "epsilon", image: bool = False) -> Any:
    """diffusers' pipeline of the model, with DDIM; ``image``: the one that begins with a picture."""
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
        clip_sample=False, steps_offset=1,
    )  # fmt: skip
    ends, bangs = tokenizer(folder / "end", "<|endoftext|>"), tokenizer(folder / "bang", "!")
    if model.family in ("sd1", "sd2"):
        words = ends if model.family == "sd1" else bangs
        made: Any = StableDiffusionPipeline(
            model.vae, model.text_encoder, words, model.unet, scheduler, None, None, requires_safety_checker=False
        )
    elif model.family == "sd3":
        flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
        third = (None, None) if model.text_encoder_3 is None else (model.text_encoder_3, t5_tokenizer())
        made = StableDiffusion3Pipeline(
            model.unet, flow, model.vae, model.text_encoder, ends, model.text_encoder_2, bangs, *third
        )
    elif image:
        made = StableDiffusionXLImg2ImgPipeline(
            model.vae, model.text_encoder, model.text_encoder_2, ends if model.text_encoder else None, bangs,
            model.unet, scheduler, requires_aesthetics_score=model.family == "sdxl-refiner",
            force_zeros_for_empty_prompt=False, add_watermarker=False,
        )  # fmt: skip
    else:
        made = StableDiffusionXLPipeline(
            model.vae, model.text_encoder, model.text_encoder_2, ends, bangs, model.unet, scheduler,
            add_watermarker=False,
        )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


UNET_KEYS = (
    "block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types", "up_block_types",
    "transformer_layers_per_block", "attention_head_dim", "norm_num_groups", "in_channels", "out_channels",
    "use_linear_projection", "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
)  # fmt: skip
MMDIT_KEYS = (
    "patch_size", "in_channels", "out_channels", "num_layers", "attention_head_dim", "num_attention_heads",
    "joint_attention_dim", "caption_projection_dim", "pooled_projection_dim", "pos_embed_max_size",
    "dual_attention_layers", "qk_norm", "sample_size",
)  # fmt: skip
VAE_KEYS = (
    "block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups", "scaling_factor",
    "down_block_types", "up_block_types", "use_quant_conv",
)  # fmt: skip
TEXT_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
    "max_position_embeddings", "layer_norm_eps", "projection_dim",
)  # fmt: skip


def assert_same(loaded: Any, model: Model) -> None:
    """What was loaded has the model's hyperparameters and weights, to the last bit."""
    texts = {reader.name: reader.network for reader in loaded.readers}
    assert texts.keys() == {n for n in ("text_encoder", "text_encoder_2") if getattr(model, n) is not None}
    pairs = [(loaded.unet, model.unet), (loaded.vae, model.vae), *((t, getattr(model, n)) for n, t in texts.items())]
    for ours, theirs in pairs:
        actual, expected = ours.state_dict(), theirs.state_dict()
        assert actual.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)
    unet_keys = MMDIT_KEYS if model.family == "sd3" else UNET_KEYS
    for ours, theirs, keys in ((loaded.unet, model.unet, unet_keys), (loaded.vae, model.vae, VAE_KEYS)):
        assert {key: _plain(ours.config.get(key)) for key in keys} == {key: _plain(theirs.config[key]) for key in keys}
    for name, text in texts.items():
        for key in TEXT_KEYS:
            assert getattr(text.config, key) == getattr(getattr(model, name).config, key), key


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""Write random weights of Stable Diffusion 1.5's exact sizes: an LDM file and a diffusers folder, in float16.

    python benchmarks/make_sd15.py --output /tmp/sd15

makes ``/tmp/sd15/sd15-random.safetensors`` and ``/tmp/sd15/sd15-random/`` (2 GB each). The values are random but tame:
what goes through the networks stays finite in bfloat16, so that speed, memory and agreement can be measured. The folder
has CLIP's own vocabulary and loads with ``StableDiffusionPipeline.from_pretrained`` too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from checkpoints import write_folder, write_ldm

from sfumato.families import tokens
from sfumato.families.configs import unet_config
from sfumato.weights.keymaps import ldm

NAME = "sd15-random"
UNET = ldm.UNetShape(
    channels=(320, 640, 1280, 1280), attention=(True, True, True, False), layers=2, depth=1,
    in_channels=4, out_channels=4, context=768, linear_projection=False,
)  # fmt: skip


def networks(seed: int) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Stable Diffusion 1.5's three networks in float16."""
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    unet = UNet2DConditionModel(**unet_config(UNET)).half()
    coder = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).half()  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    ).half()
    return unet.eval(), coder.eval(), text.eval()


def complete(folder: Path) -> None:
    """Add what plain diffusers needs beside the networks: a tokenizer, and an index of the parts."""
    (folder / "tokenizer").mkdir(exist_ok=True)
    tokens.clip().save(folder / "tokenizer")
    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), tokens.EOS) | {"bos_token": tokens.BOS}
    settings = special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    absent = {part: [None, None] for part in ("safety_checker", "feature_extractor", "image_encoder")}
    index = {
        "_class_name": "StableDiffusionPipeline",
        "requires_safety_checker": False,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index | absent, indent=2), encoding="utf-8")


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to; 4 GB")
    parser.add_argument("--seed", type=int, default=0)
    wishes = parser.parse_args()
    logging.disable_progress_bar()
    wishes.output.mkdir(parents=True, exist_ok=True)
    unet, coder, text = networks(wishes.seed)
    print(write_folder(wishes.output / NAME, unet, coder, text))
    complete(wishes.output / NAME)
    print(write_ldm(wishes.output / f"{NAME}.safetensors", unet, coder, text, torch.float16))


if __name__ == "__main__":
    main()

"""Stage 6: the trained parts as one diffusers folder in float16, as ``StableDiffusionPipeline`` reads it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from safetensors.torch import save_file

import autoencoder
import pictures
import text_encoder
import unet
from state import load_state

OUTPUT = Path(__file__).parents[2] / "src/sfumato/builtin/stable-universe"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_name_or_path": "stable-universe",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}


def write_part(folder: Path, name: str, model: torch.nn.Module, file: str) -> None:
    """One network: its config and its weights, contiguous, in float16."""
    part = folder / name
    part.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(tensors, part / file, metadata={"format": "pt"})
    (part / file).chmod(0o644)
    config = model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)
    for key in ("_name_or_path", "block_out_channels") if name == "vae" else ("_name_or_path",):
        config.pop(key, None)
    config["_class_name" if name in ("unet", "vae") else "architectures"] = (
        type(model).__name__ if name in ("unet", "vae") else [type(model).__name__]
    )
    (part / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True, default=list) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    tokenizer = text_encoder.make_tokenizer(args.work / "tokenizer", [])
    words, coder, network = text_encoder.build(tokenizer), autoencoder.build(), unet.build()
    load_state(args.work / "text_encoder.pt", model=words)
    load_state(args.work / "decoder.pt", model=coder)
    count = len(pictures.pool(args.work, args.subjects))
    load_state(args.work / f"unet-{count}.pt", average=network)
    args.output.mkdir(parents=True, exist_ok=True)
    write_part(args.output, "text_encoder", words, "model.safetensors")
    write_part(args.output, "unet", network, "diffusion_pytorch_model.safetensors")
    write_part(args.output, "vae", coder, "diffusion_pytorch_model.safetensors")
    folder = args.output / "tokenizer"
    folder.mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(args.work / "tokenizer" / name, folder / name)
    special = {"bos_token": text_encoder.BOS, "eos_token": text_encoder.EOS}
    special |= {"pad_token": text_encoder.EOS, "unk_token": text_encoder.EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": text_encoder.CONTEXT, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(args.output / "scheduler")  # fmt: skip
    shutil.copyfile(Path(__file__).parent / "recommended.json", args.output / "recommended.json")
    (args.output / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")


if __name__ == "__main__":
    main()

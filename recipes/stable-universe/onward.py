"""The exported model as states of the stages, so that the diffusion model's training goes on from what is shipped.

    python onward.py --subjects 420

Its optimizer begins anew, and so do its steps. The other parts are what ``latents.py``, ``unet.py`` and ``export.py``
read.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel

import export
import pictures
import unet
from state import save_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--model", type=Path, default=export.OUTPUT)
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    pictures.fetch(args.work)
    shutil.copytree(args.model / "tokenizer", args.work / "tokenizer", dirs_exist_ok=True)
    words = CLIPTextModel.from_pretrained(args.model / "text_encoder", torch_dtype="float32")
    coder = AutoencoderTiny.from_pretrained(args.model / "vae")
    trainer = unet.Trainer(0.0, 0.0)
    trainer.begin(UNet2DConditionModel.from_pretrained(args.model / "unet"))
    save_state(args.work / "text_encoder.pt", 0, model=words)
    for name in ("autoencoder", "decoder"):
        save_state(args.work / f"{name}.pt", 0, model=coder)
    save_state(args.work / f"unet-{len(pictures.pool(args.work, args.subjects))}.pt", 0, **trainer.parts())


if __name__ == "__main__":
    main()

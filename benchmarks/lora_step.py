"""One optimizer step of a LoRA on Stable Diffusion 1.5, 256x256, batch 1: ours against diffusers' own loop.

Theirs is the loop of diffusers' ``train_text_to_image_lora.py``: picture and caption are encoded at every step, the
frozen networks are in the mixed precision's type, the branches in float32. Each runs in a process of its own, so that
peak memory is its own; steps are taken in turn, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RANK, SIDE = 4, 256
TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]


def ours(weights: Path, precision: str) -> Callable[[], None]:
    """Our loop, as ``train.py`` runs it."""
    from sfumato.training.cache import CaptionCache
    from sfumato.training.loop import Loop
    from sfumato.training.run import Places, Run
    from sfumato.training.settings import DataSettings, MethodSettings, TrainSettings
    from sfumato.training.state import States

    folder = Path(tempfile.mkdtemp())
    _picture(folder / "data")
    settings = TrainSettings(
        data=DataSettings(data_dir=folder / "data", resolution=SIDE, caption="a picture"),
        what=MethodSettings(rank=RANK, targets="attention"), mixed_precision=precision, max_steps=1000,
    )  # fmt: skip
    places = Places(base=weights / "sd15-random.safetensors", run=folder / "run", output=folder / "out.safetensors")
    run = Run(settings, places, device="cpu")
    words = CaptionCache(run.networks)
    loop = Loop(run.trainee, run.batches, words, settings, run.accelerator, States(folder / "run"), run.facts())
    return lambda: (loop._advance(1e-4), None)[1]


def theirs(weights: Path, precision: str) -> Callable[[], None]:
    """diffusers' loop, step by step as its script has it."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig
    from transformers import CLIPTextModel

    accelerator = Accelerator(mixed_precision=precision, cpu=True)
    dtype, folder = {"no": torch.float32, "bf16": torch.bfloat16}[precision], weights / "sd15-random"
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").requires_grad_(False).to(dtype=dtype)
    vae = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(False).to(dtype=dtype)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False).to(dtype=dtype)
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=TARGETS))
    if precision != "no":
        cast_training_params(unet, dtype=torch.float32)
    layers = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(layers, lr=1e-4)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    pixels, ids = torch.zeros(1, 3, SIDE, SIDE), torch.full((1, 77), 49407)
    unet.train()

    def step() -> None:
        with accelerator.accumulate(unet):
            latents = vae.encode(pixels.to(dtype)).latent_dist.sample() * vae.config.scaling_factor
            noise = torch.randn_like(latents)
            t = torch.randint(0, 1000, (1,))
            noisy = schedule.add_noise(latents, noise, t)
            words = text(ids, return_dict=False)[0]
            answer = unet(noisy, t, words, return_dict=False)[0]
            loss = F.mse_loss(answer.float(), noise.float(), reduction="mean")
            accelerator.gather(loss.repeat(1)).mean().item()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(layers, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


def _picture(folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    Image.linear_gradient("L").convert("RGB").save(folder / "a.png")


CONTESTANTS = {"ours": ours, "diffusers": theirs}


def contest(name: str, weights: Path, precision: str) -> None:
    """A contestant's process: a step for every line that comes in, its seconds for every step; then its peak memory."""
    from sfumato.runtime.memory import peak_rss

    step = CONTESTANTS[name](weights, precision)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        print(json.dumps([time.perf_counter() - began, peak_rss()]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="what make_sd15.py wrote")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "no"))
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant:
        contest(args.contestant, args.weights, args.precision)
        return
    command = [sys.executable, __file__, "--weights", str(args.weights), "--precision", args.precision]
    processes = {
        name: subprocess.Popen(
            [*command, "--contestant", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for name in CONTESTANTS
    }
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    peak = dict.fromkeys(processes, 0)
    for process in processes.values():
        process.stdout.readline()
    for turn in range(args.rounds + 1):
        for name, process in processes.items():
            process.stdin.write("step\n")
            took, peak[name] = json.loads(process.stdout.readline())
            if turn:
                seconds[name].append(took)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name in processes:
        print(f"{name:<10} {medians[name]:6.2f} s  {peak[name] / 1e9:5.2f} GB")
    print(f"ours / diffusers: time {medians['ours'] / medians['diffusers']:.2f}, "
          f"peak memory {peak['ours'] / peak['diffusers']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()

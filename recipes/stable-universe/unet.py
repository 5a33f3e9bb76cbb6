"""Stage 4: the diffusion model. Words (frozen text encoder) and noise to latents; v-prediction, EMA.

The words reach the network twice: through cross-attention, and pooled into the time embedding
(``addition_embed_type="text"``), which scales and shifts every residual block. The second path is what lets a
small model learn what a thing looks like in thousands of steps instead of hundreds of thousands.
The loss is the plain squared error of v, which keeps its weight at high noise, where it is decided what a
picture shows; min-SNR weighting takes that weight away.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

import captions
import pictures
import text_encoder
from bank import Bank
from compute import DTYPE
from pointing import Pointer
from state import load_state, save_state

DROP = 0.1
#: The weight of the loss that teaches attention where to look.
POINTING = 0.05
#: The attention layers that are taught, and how many positions a row has there.
TAUGHT = {
    "mid_block.attentions.0": 4,
    "up_blocks.0.attentions.1": 4,
    "up_blocks.1.attentions.1": 8,
    "up_blocks.2.attentions.0": 16,
    "up_blocks.2.attentions.1": 16,
}
#: At 512x512 the model only refines: its times are below this.
LARGE_TIMES = 350
#: From here on there is hardly anything but noise: what a picture shows is decided here.
HIGH = 700


def build() -> UNet2DConditionModel:
    """About 20 M parameters; sixteen narrow heads where there are 16x16 positions, one for each position of a part."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(96, 192, 224),
        layers_per_block=1,
        attention_head_dim=(16, 4, 4),
        cross_attention_dim=text_encoder.WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=8,
        resnet_time_scale_shift="scale_shift",
    )


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's noise: betas linear in their square roots, 0.00085 to 0.012, 1000 steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def encode(model: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Texts to (B, 77, 256)."""
    ids = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return model(ids).last_hidden_state


class Trainer:
    """Weights in float32 for the optimizer, a copy in DTYPE that computes, and their moving average."""

    def __init__(self, lr: float, high: float) -> None:
        torch.manual_seed(0)
        self.high = high
        self.master = build()
        self.average = copy.deepcopy(self.master)
        self.network = copy.deepcopy(self.master).to(DTYPE, memory_format=torch.channels_last)
        self.network.set_attn_processor(AttnProcessor())
        self.pointers = [Pointer() for _ in TAUGHT]
        for name, pointer in zip(TAUGHT, self.pointers, strict=True):
            self.network.get_submodule(name).transformer_blocks[0].attn2.set_processor(pointer)
        self.forward = torch.compile(self.network, dynamic=False)
        self.adam = torch.optim.AdamW(self.master.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.abar = alphas_cumprod()

    def step(self, latent: Tensor, words: Tensor, g: torch.Generator, decay: float) -> tuple[float, list[float]]:
        """One optimizer step; returns the loss, and of each taught layer how far it looks from where it should.

        Larger latents get little noise, and attention is free there.
        """
        large = latent.shape[-1] > self.master.config.sample_size
        t = torch.randint(0, LARGE_TIMES, (len(latent),), generator=g) if large else self._times(len(latent), g)
        noise = torch.randn(latent.shape, generator=g)
        a, s = self.abar[t].sqrt()[:, None, None, None], (1 - self.abar[t]).sqrt()[:, None, None, None]
        noisy = (a * latent + s * noise).to(DTYPE).contiguous(memory_format=torch.channels_last)
        v = self.forward(noisy, t, words.to(DTYPE)).sample.float()
        loss = (v - (a * noise - s * latent)).square().mean()
        pointing = torch.stack([pointer.loss for pointer in self.pointers])
        (loss + (0 if large else POINTING) * pointing.sum()).backward()
        for slow, fast in zip(self.master.parameters(), self.network.parameters(), strict=True):
            slow.grad = fast.grad.float()
            fast.grad = None
        torch.nn.utils.clip_grad_norm_(self.master.parameters(), 1.0)
        self.adam.step()
        with torch.no_grad():
            torch._foreach_copy_(list(self.network.parameters()), list(self.master.parameters()))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.master.parameters()), 1 - decay)
        return loss.item(), pointing.tolist()

    def _times(self, count: int, g: torch.Generator) -> Tensor:
        """Uniform, but a share of ``high`` is drawn from :data:`HIGH` on."""
        t, late = torch.randint(0, 1000, (count,), generator=g), torch.randint(HIGH, 1000, (count,), generator=g)
        return torch.where(torch.rand(count, generator=g) < self.high, late, t)

    def begin(self, network: UNet2DConditionModel) -> None:
        """Take over a network's weights."""
        for mine in (self.master, self.average, self.network):
            mine.load_state_dict(network.state_dict())

    def parts(self) -> dict[str, object]:
        """What makes the state."""
        return {"model": self.master, "average": self.average, "optimizer": self.adam}

    def load(self, path: Path) -> int:
        """Fill the state from the file; returns the step to go on from."""
        step = load_state(path, **self.parts())
        self.network.load_state_dict(self.master.state_dict())
        return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--pairs", type=float, default=0.15, help="how many pictures show two subjects")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--high", type=float, default=0.5, help="how many of the times are drawn from the noisiest")
    parser.add_argument("--large", type=float, default=0.0, help="how many of the steps are at 512x512")
    args = parser.parse_args()
    tokenizer = text_encoder.make_tokenizer(args.work / "tokenizer", [])
    words_model = text_encoder.build(tokenizer).eval()
    load_state(args.work / "text_encoder.pt", model=words_model)
    words_model = words_model.to(DTYPE)
    pool = pictures.pool(args.work, args.subjects)
    bank = Bank(args.work / f"latents-{len(pool)}", pictures.subjects(args.work))
    large = Bank(args.work / f"latents-{len(pool)}-large", pictures.subjects(args.work)) if args.large else bank
    trainer, start, mean = Trainer(args.lr, args.high), 0, 0.0
    path = args.work / f"unet-{len(pool)}.pt"
    if path.exists():
        start = trainer.load(path)
    began = time.time()
    for step in range(start, args.steps):
        rng, g = random.Random(step), torch.Generator().manual_seed(step)
        for group in trainer.adam.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 200, 3.3 * (1 - step / args.steps))
        chosen, count = (large, args.batch // 4) if rng.random() < args.large else (bank, args.batch)
        latent, scenes = chosen.draw(count, rng, args.pairs)
        texts = ["" if rng.random() < DROP else captions.write(s, rng, tags=0.15) for s in scenes]
        words = encode(words_model, tokenizer, texts)
        loss, pointing = trainer.step(latent, words, g, min(0.998, (step + 1) / (step + 20)))
        if chosen is bank:
            mean += (loss - mean) * max(0.02, 1 / (step - start + 1))
        if step % 50 == 0:
            seen = " ".join(f"{one:.3f}" for one in pointing)
            print(f"step {step} loss {mean:.4f} pointing {seen} {time.time() - began:.0f}s", flush=True)
        if step % 250 == 249 or step == args.steps - 1:
            save_state(path, step + 1, **trainer.parts())


if __name__ == "__main__":
    main()

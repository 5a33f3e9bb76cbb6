"""Stages 1, 3 and 4 begun from the weights of the first version, which knew 104 subjects.

The parts have other shapes now. What fits is taken over, what is new begins as the identity or small, and the attention
layers that are taught where to look (pointing.py) begin with what the text encoder's heads have learned.

    python first_version.py autoencoder --weights FOLDER
    python first_version.py text_encoder --weights FOLDER
    python first_version.py unet --weights FOLDER
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from safetensors.torch import load_file
from torch import Tensor, nn

import autoencoder
import pictures
import text_encoder
import unet
from bank import Bank
from state import save_state


def _grow(new: Tensor, old: Tensor, fresh: float) -> None:
    """Copy ``old`` into the first rows or columns of ``new``; what is left keeps ``fresh`` of its initial values."""
    if new.shape != old.shape:
        new.mul_(fresh)
    new[tuple(slice(size) for size in old.shape)] = old


def _groups(layers: nn.Sequential) -> list[list[nn.Module]]:
    """Runs of residual blocks, each ended by the layer before it."""
    out: list[list[nn.Module]] = [[]]
    for layer in layers:
        if isinstance(layer, AutoencoderTinyBlock):
            out[-1].append(layer)
        else:
            out.append([layer])
    return out


@torch.no_grad()
def start_autoencoder(work: Path, weights: Path, _: int | None) -> None:
    """The blocks that are more begin as the identity, which they are by :func:`autoencoder.build`."""
    old, new = AutoencoderTiny.from_pretrained(weights / "vae"), autoencoder.build()
    for before, after in ((old.encoder, new.encoder), (old.decoder, new.decoder)):
        for a, b in zip(_groups(before.layers), _groups(after.layers), strict=True):
            for one, other in zip(a, b, strict=False):
                known = one.state_dict()
                for name, value in other.state_dict().items():
                    _grow(value, known[name].float(), 0.1)
    optimizer = torch.optim.AdamW(new.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    save_state(work / "autoencoder.pt", 0, model=new, optimizer=optimizer)


@torch.no_grad()
def start_text_encoder(work: Path, weights: Path, _: int | None) -> None:
    """Wider inside and two layers deeper; the new layers hand on what they get."""
    tokenizer = text_encoder.make_tokenizer(work / "tokenizer", [])
    model = text_encoder.build(tokenizer)
    old = load_file(weights / "text_encoder/model.safetensors")
    for name, value in model.state_dict().items():
        if name in old:
            _grow(value, old[name].float(), 0.0 if "fc2" in name else 1.0)
        elif "out_proj" in name or "fc2" in name:
            value.zero_()
    heads = text_encoder.Heads(text_encoder.image_features(pictures.load_rgba(work)))
    muon, adam = text_encoder.optimizers(model, heads)
    save_state(work / "text_encoder.pt", 0, model=model, heads=heads, muon=muon, adam=adam)


def components(rows: Tensor, first: int, count: int) -> Tensor:
    """Principal components ``first`` to ``first + count`` of (N, D) rows, scaled to unit variance: (D, count)."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    values, vectors = values.flip(0), vectors.flip(1)
    return vectors[:, first : first + count] / values[first : first + count].mean().sqrt()


def point(module: nn.Module, side: int, heads: dict[str, Tensor], parts: Tensor, skip: int, g: torch.Generator) -> None:
    """Fill one attention layer: its keys tell the places, its values what belongs there.

    ``parts`` are mean-free latents of parts (N, 16, 4, 4). With more positions than one to a part, a head's value
    is what the layout says of the head's own position.
    """
    attention = module.transformer_blocks[0].attn2
    inner, wide = attention.to_q.weight.shape[0], side // text_encoder.GRID
    width = inner // attention.heads
    codes = torch.randn(attention.heads, width, text_encoder.GRID**2 + 1, generator=g)
    codes = codes - codes.mean(-1, keepdim=True)
    place = heads["place.weight"] / heads["place.weight"].norm(dim=1).mean()
    attention.to_k.weight.copy_((codes @ place * 3 / math.sqrt(width)).reshape(inner, -1))
    layout = heads["layout.weight"].view(16, 4, 4, -1)
    if wide == 1:
        attention.to_v.weight.copy_(components(parts.flatten(1), 0, inner).T @ layout.flatten(0, 2))
        return
    each = 4 // wide
    cells = parts.view(-1, 16, wide, each, wide, each).permute(0, 2, 4, 1, 3, 5).reshape(-1, 16 * each**2)
    basis = components(cells[:60000], skip * width, width)
    said = layout.view(16, wide, each, wide, each, -1).permute(1, 3, 0, 2, 4, 5).reshape(wide**2, 16 * each**2, -1)
    values = [basis.T @ said[head % wide**2] for head in range(attention.heads)]
    attention.to_v.weight.copy_(torch.stack(values).reshape(inner, -1))
    turned = torch.linalg.qr(torch.randn(inner, width, generator=g))[0]
    attention.to_out[0].weight.copy_(turned.repeat(1, attention.heads))
    attention.to_out[0].bias.zero_()


@torch.no_grad()
def start_unet(work: Path, weights: Path, subjects: int | None) -> None:
    """Four more channels at both ends; the new attention layers point, those at 16x16 positions are silent at first."""
    count = len(pictures.pool(work, subjects))
    trainer = unet.Trainer(7e-4, 0.5)
    old = load_file(weights / "unet/diffusion_pytorch_model.safetensors")
    for name, value in trainer.master.state_dict().items():
        if name in old:
            _grow(value, old[name].float(), 0.5)
    heads = torch.load(work / "text_encoder.pt", weights_only=True)["heads"]
    bank = Bank(work / f"latents-{count}", pictures.subjects(work))
    parts = text_encoder.parts_of(bank.latents[:3000].float()).reshape(-1, 16, 4, 4)
    parts, g = parts - parts.mean(0), torch.Generator().manual_seed(1)
    for name, side in unet.TAUGHT.items():
        module = trainer.master.get_submodule(name)
        point(module, side, heads, parts, int(name == "up_blocks.2.attentions.1"), g)
        if side == 16:
            module.proj_out.weight.zero_()
            module.proj_out.bias.zero_()
    trainer.average.load_state_dict(trainer.master.state_dict())
    save_state(work / f"unet-{count}.pt", 0, **trainer.parts())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    stages = {"autoencoder": start_autoencoder, "text_encoder": start_text_encoder, "unet": start_unet}
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--weights", type=Path, required=True, help="the first version's diffusers folder")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    args = parser.parse_args()
    pictures.fetch(args.work)
    stages[args.stage](args.work, args.weights, args.subjects)


if __name__ == "__main__":
    main()

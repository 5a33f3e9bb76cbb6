"""Stage 3: words to meaning, and to a layout. A small CLIP text model.

Two losses. CLIP's, one side frozen: a caption must find its subject among all pictures (their principal components
stand for the image encoder), its second subject if there is one, and its background. And the layout: the states of the
last 16 places, which are padding, carry the mean latents of the picture's 4x4 parts. So what a subject looks like is
learned here, where a step is cheap, and the diffusion model only learns to look at the place that it draws.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import captions
import pictures
from bank import Bank
from compute import autocast
from state import load_state, save_state

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WIDTH = 256
CONTEXT = 77
#: A picture's parts: 4x4, each of 4x4 latents.
GRID = 4
#: The places of their tokens: the last ones of the text.
FIRST_PART = CONTEXT - GRID * GRID
#: Texts are cut to so many tokens in most steps.
SHORT = 32
RATE = 1e-3


def make_tokenizer(folder: Path, lines: list[str], merges: int = 6000) -> CLIPTokenizer:
    """Byte-pair merges learned on our captions, in CLIP's file layout: vocab.json and merges.txt."""
    if not (folder / "merges.txt").exists():
        learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
        learner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Punctuation(),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=merges,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            end_of_word_suffix="</w>",
            show_progress=False,
        )
        learner.train_from_iterator(lines, trainer)
        learned = json.loads(learner.to_str())["model"]["merges"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokens = alphabet + [a + "</w>" for a in alphabet]
        tokens += [t for t in dict.fromkeys("".join(pair) for pair in learned) if t not in set(tokens)]
        tokens += [BOS, EOS]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(p) for p in learned) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT, pad_token=EOS, unk_token=EOS
    )


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Six layers of width 256."""
    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        intermediate_size=8 * WIDTH,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        projection_dim=WIDTH,
        hidden_act="quick_gelu",
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return CLIPTextModel(config)


def image_features(rgba: Tensor, count: int = 192) -> Tensor:
    """Each picture's whitened principal components, 16x16 pixels: (N, count), unit length."""
    small = torch.cat([F.avg_pool2d(part.float() / 255, 16).flatten(1) for part in rgba.split(64)])
    small = small - small.mean(0)
    left, _, _ = torch.linalg.svd(small, full_matrices=False)
    return F.normalize(left[:, :count], dim=1)


class Heads(nn.Module):
    """From the caption's last states to: first subject, second subject (or none), background (or none)."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.picture = nn.Sequential(nn.Linear(features.shape[1], 512), nn.GELU(), nn.Linear(512, WIDTH))
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.none = nn.Parameter(torch.zeros(1, WIDTH))
        self.colour = nn.Linear(WIDTH, len(pictures.BACKGROUNDS) + 1)
        self.warmth = nn.Parameter(torch.tensor(2.3))
        self.layout = nn.Linear(WIDTH, WIDTH)
        self.place = nn.Linear(WIDTH, GRID * GRID + 1)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 256) to logits over pictures, over pictures and none, over colours and none."""
        keys = F.normalize(self.picture(self.features), dim=1)
        with_none = torch.cat([keys, F.normalize(self.none, dim=1)])
        scale = self.warmth.exp().clamp(max=60)
        return (
            scale * F.normalize(self.first(state), dim=1) @ keys.T,
            scale * F.normalize(self.second(state), dim=1) @ with_none.T,
            self.colour(state),
        )


def parts_of(latents: Tensor) -> Tensor:
    """Latents (B, 16, 16, 16) as (B, 16 parts, 256): rows of 4x4 parts, each channels first."""
    count, channels, side, _ = latents.shape
    cut = latents.view(count, channels, GRID, side // GRID, GRID, side // GRID)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, GRID * GRID, -1)


def latents_of(parts: Tensor, channels: int = 16) -> Tensor:
    """The reverse of :func:`parts_of`."""
    cut = parts.view(len(parts), GRID, GRID, channels, GRID, GRID)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(parts), channels, GRID * GRID, GRID * GRID)


def states(model: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str], short: bool) -> tuple[Tensor, Tensor]:
    """The last states (B, L, 256) and the places of the ends of the texts (B,).

    ``short`` leaves out the padding between the text's first places and the parts' tokens.
    """
    kept = SHORT if short else FIRST_PART
    ids = tokenizer(texts, padding="max_length", max_length=kept, truncation=True, return_tensors="pt").input_ids
    ids = F.pad(ids, (0, CONTEXT - FIRST_PART), value=tokenizer.pad_token_id)
    places = torch.cat([torch.arange(kept), torch.arange(FIRST_PART, CONTEXT)])
    ends = (ids == tokenizer.eos_token_id).int().argmax(1)
    return model(ids, position_ids=places[None]).last_hidden_state, ends


def losses(heads: Heads, hidden: Tensor, ends: Tensor, scenes: list[captions.Scene]) -> tuple[Tensor, Tensor]:
    """CLIP's loss, and how many first subjects were found: means over the batch."""
    colours = [*pictures.BACKGROUNDS, None]
    first = torch.tensor([s.first.row for s in scenes])
    none = len(heads.features)
    second = torch.tensor([none if s.second is None else s.second.row for s in scenes])
    colour = torch.tensor([colours.index(s.colour) for s in scenes])
    a, b, c = heads(hidden[torch.arange(len(hidden)), ends])
    total = F.cross_entropy(a, first) + 0.3 * F.cross_entropy(b, second) + 0.3 * F.cross_entropy(c, colour)
    return total, (a.argmax(1) == first).float().mean()


def place_loss(heads: Heads, hidden: Tensor) -> Tensor:
    """Each part's token must tell its place, and the words' that they are none: so that attention can find it."""
    parts = GRID * GRID
    wanted = torch.cat([torch.zeros(hidden.shape[1] - parts), torch.arange(1, parts + 1)]).long()
    return F.cross_entropy(heads.place(hidden).flatten(0, 1), wanted.repeat(len(hidden)))


def optimizers(model: CLIPTextModel, heads: Heads) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, which learn several times as fast by it; AdamW for all else."""
    matrices = [p for p in model.encoder.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in [*model.parameters(), *heads.parameters()] if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    pictures.fetch(args.work)
    subjects = pictures.subjects(args.work)
    bank = Bank(args.work / f"latents-{len(pictures.pool(args.work, args.subjects))}", subjects)
    tokenizer = make_tokenizer(args.work / "tokenizer", captions.corpus(subjects))
    torch.manual_seed(0)
    model, heads = build(tokenizer), Heads(image_features(pictures.load_rgba(args.work)))
    opts = optimizers(model, heads)
    saved = {"model": model, "heads": heads, "muon": opts[0], "adam": opts[1]}
    path, began = args.work / "text_encoder.pt", time.time()
    start = load_state(path, **saved) if path.exists() else 0
    mean = torch.zeros(2)
    for step in range(start, args.steps):
        rng, done = random.Random(step), step / args.steps
        for group in (group for one in opts for group in one.param_groups):
            group["lr"] = RATE * min(1, (step + 1) / 100, (1 - done) / 0.4)
        latents, scenes = bank.draw(args.batch, rng, pairs=0.35)
        texts = [captions.write(s, rng, tags=0.25) for s in scenes]
        with autocast():
            hidden, ends = states(model, tokenizer, texts, short=done < 0.85)
            error = (heads.layout(hidden[:, -GRID * GRID :]) - parts_of(latents)).square().mean()
            loss, hits = losses(heads, hidden, ends, scenes)
            loss = loss + place_loss(heads, hidden)
        for one in opts:
            one.zero_grad(set_to_none=True)
        (error.float() + 0.03 * loss).backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], 1.0)
        for one in opts:
            one.step()
        mean += (torch.stack([error.detach().float(), hits]) - mean) * max(0.02, 1 / (step - start + 1))
        if step % 50 == 0:
            print(f"step {step} layout {mean[0]:.4f} found {mean[1]:.3f} {time.time() - began:.0f}s", flush=True)
        if step % 250 == 249 or step == args.steps - 1:
            save_state(path, step + 1, **saved)


if __name__ == "__main__":
    main()

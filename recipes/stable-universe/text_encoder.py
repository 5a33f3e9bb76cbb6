"""Stage 2: words to meaning. A small CLIP text model, trained until its captions find their pictures.

The loss is CLIP's, one side frozen: a caption must find its subject among all pictures (their principal components
stand for the image encoder), its second subject if there is one, and its background.
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
from state import load_state, save_state

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WIDTH = 256
CONTEXT = 77


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
    """Four layers of width 256."""
    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
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


def losses(model: CLIPTextModel, heads: Heads, ids: Tensor, scenes: list[captions.Scene]) -> tuple[Tensor, Tensor]:
    """The loss, and how many first subjects were found: mean over the batch."""
    hidden = model(ids).last_hidden_state
    last = (ids == model.config.eos_token_id).int().argmax(1)
    total, hits = torch.zeros(()), torch.zeros(())
    colours = [*pictures.BACKGROUNDS, None]
    first = torch.tensor([s.first.row for s in scenes])
    none = len(heads.features)
    second = torch.tensor([none if s.second is None else s.second.row for s in scenes])
    colour = torch.tensor([colours.index(s.colour) for s in scenes])
    rows = torch.arange(len(ids))
    anywhere = last + (torch.rand(len(ids)) * (ids.shape[1] - last)).long()
    for state in (hidden[rows, last], hidden[rows, anywhere]):
        a, b, c = heads(state)
        total = total + F.cross_entropy(a, first) + 0.3 * F.cross_entropy(b, second) + 0.3 * F.cross_entropy(c, colour)
        hits = hits + (a.argmax(1) == first).float().mean() / 2
    return total, hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    pictures.fetch(args.work)
    subjects, claimed = pictures.subjects(args.work), pictures.pool(args.work)
    tokenizer = make_tokenizer(args.work / "tokenizer", captions.corpus(subjects))
    torch.manual_seed(0)
    model = build(tokenizer)
    heads = Heads(image_features(pictures.load_rgba(args.work)))
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    path, start, began = args.work / "text_encoder.pt", 0, time.time()
    if path.exists():
        start = load_state(path, model=model, heads=heads, optimizer=optimizer)
    for step in range(start, args.steps):
        torch.manual_seed(step)
        rng = random.Random(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 200) * (1 - step / args.steps)
        known = subjects if rng.random() < 0.6 else claimed
        scenes = [captions.random_scene(known, rng, pairs=0.15, plain=0.25) for _ in range(args.batch)]
        texts = [captions.write(s, rng, tags=0.25) for s in scenes]
        width = CONTEXT if step % 10 == 0 else 28
        ids = tokenizer(texts, padding="max_length", max_length=width, truncation=True, return_tensors="pt").input_ids
        with torch.autocast("cpu", torch.bfloat16):
            loss, hits = losses(model, heads, ids, scenes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} found {hits.item():.3f} {time.time() - began:.0f}s", flush=True)
        if step % 250 == 249 or step == args.steps - 1:
            save_state(path, step + 1, model=model, heads=heads, optimizer=optimizer)


if __name__ == "__main__":
    main()

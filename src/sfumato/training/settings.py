"""What a training run is asked to do: frozen, and where every number is checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.errors import RequestError, nearest

#: The LoRA's targets, and how the rate changes, where neither user nor model says which.
TARGETS, LR_SCHEDULE = "transformer", "constant"
#: Settings that are one of a few names.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "method": ("lora", "full", "textual_inversion"),
    "targets": ("attention", "transformer", "all"),
    "optimizer": ("adamw", "adamw8bit", "prodigy"),
    "lr_schedule": ("constant", "cosine", "linear"),
    "mixed_precision": ("auto", "no", "bf16", "fp16"),
    "save_as": ("kohya", "diffusers", "ldm"),
}
#: Least and greatest of each number; NaN is in no range.
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 1_000_000),
    "max_steps": (1, 100_000_000),
    "batch_size": (1, 4096),
    "gradient_accumulation": (1, 4096),
    "warmup_steps": (0, 10_000_000),
    "rank": (1, 1024),
    "alpha": (1e-6, 1e6),
    "vectors": (1, 75),
    "resolution": (16, 4096),
    "class_pictures": (0, 100_000),
    "keep_tokens": (0, 1000),
    "caption_dropout": (0, 1),
    "prior_weight": (0, 100),
    "learning_rate": (1e-12, 100),
    "weight_decay": (0, 100),
    "max_grad_norm": (0, 1e9),
    "snr_gamma": (1e-3, 1e3),
    "noise_offset": (0, 1),
    "ema": (0, 0.999999),
    "seed": (0, 2**63 - 1),
    "save_every": (1, 100_000_000),
    "sample_every": (0, 100_000_000),
}


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pictures, with which words, and how they are varied."""

    data_dir: Path
    caption: str | None = None
    instance_prompt: str | None = None
    class_prompt: str | None = None
    class_pictures: int | None = None
    reg_dir: Path | None = None
    prior_weight: float = 1.0
    resolution: int | None = None
    caption_dropout: float = 0.0
    shuffle_caption: bool = False
    keep_tokens: int = 0
    flip: bool = False
    random_crop: bool = False
    masked_loss: bool = False


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """What is trained. What is None of a LoRA is as suits the base model, else the rank, TARGETS, and UNet alone."""

    method: str = "lora"
    rank: int = 16
    alpha: float | None = None
    targets: str | None = None
    train_text_encoder: bool | None = None
    token: str | None = None
    init_word: str | None = None
    vectors: int = 4


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that decides what a run gives. Sizes are in pixels, ``max_steps`` in optimizer steps.

    An ``lr_schedule`` of None is what suits a LoRA of the base model, else LR_SCHEDULE.
    """

    data: DataSettings
    what: MethodSettings = field(default_factory=MethodSettings)
    epochs: int = 100
    max_steps: int | None = None
    learning_rate: float = 1e-4
    batch_size: int = 1
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    mixed_precision: str = "auto"
    optimizer: str = "adamw"
    lr_schedule: str | None = None
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    snr_gamma: float | None = None
    noise_offset: float = 0.0
    ema: float | None = None
    seed: int = 0
    save_every: int = 250
    sample_every: int = 250
    sample_prompts: tuple[str, ...] = ()
    save_as: str | None = None
    tensorboard: bool = False

    def check(self) -> None:
        """Raises RequestError for the first value that can't be carried out."""
        groups = (self, self.data, self.what)
        for name, known in CHOICES.items():
            value = next(getattr(group, name) for group in groups if hasattr(group, name))
            if value is not None and value not in known:
                close = nearest(value, known) or "choose " + ", ".join(known)
                raise RequestError(f"{_flag(name)} {value!r} is unknown; {close}.")
        for name, (low, high) in RANGES.items():
            number = next(getattr(group, name) for group in groups if hasattr(group, name))
            if number is not None and not low <= number <= high:
                raise RequestError(f"{_flag(name)} {number} is out of range; it must be {low} to {high}.")
        self._check_together()

    def _check_together(self) -> None:
        data, what = self.data, self.what
        if what.method == "textual_inversion":
            self._check_word()
        if data.masked_loss and data.random_crop:
            raise RequestError("--masked_loss and --random_crop can't be used together; leave one out.")
        if self.save_as == "ldm" and what.method != "full":
            raise RequestError("--save_as ldm is for whole models; use it with --method full.")
        if self.save_as == "kohya" and what.method != "lora":
            raise RequestError("--save_as kohya is for LoRA; leave it out.")

    def _check_word(self) -> None:
        """What shows pictures without the new word, or changes more than it, teaches nothing."""
        data, what = self.data, self.what
        if not what.token:
            raise RequestError("--method textual_inversion learns a new word; say which with --token.")
        others = {
            "train_text_encoder": what.train_text_encoder,
            "reg_dir": data.reg_dir,
            "class_prompt": data.class_prompt,
            "class_pictures": data.class_pictures,
            "caption_dropout": data.caption_dropout,
        }
        for name, value in others.items():
            if value:
                raise RequestError(f"--{name} has no meaning with --method textual_inversion; leave it out.")


def _flag(name: str) -> str:
    return "--lr_scheduler" if name == "lr_schedule" else f"--{name}"

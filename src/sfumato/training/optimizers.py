"""Optimizers by name, and the learning rate of a step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sfumato.errors import RequestError
from sfumato.training.settings import TrainSettings


def make(settings: TrainSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, or from an extra package its 8-bit form or Prodigy, which finds its own rate (give it 1).

    Raises:
        RequestError: the extra package is not installed.
    """
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    try:
        if settings.optimizer == "adamw8bit":
            from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

            return AdamW8bit(parameters, **options)
        if settings.optimizer == "prodigy":
            from prodigyopt import Prodigy  # pyright: ignore[reportMissingImports]

            return Prodigy(parameters, **options)
    except ImportError as error:
        raise RequestError(
            f"--optimizer {settings.optimizer} needs a package that is not there ({error.name}); "
            "install it with: pip install sfumato[train]"
        ) from error
    return torch.optim.AdamW(parameters, **options, fused=True)


def rate_factor(settings: TrainSettings, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at ``step`` of ``steps``: linear warm-up, then the schedule."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    if settings.lr_schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if settings.lr_schedule == "linear" else 1.0

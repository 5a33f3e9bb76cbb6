"""No silent bad output: a stage that gives NaN or infinity ends in an error with its name."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.errors import NumericError


def check_finite(x: Tensor, stage: str, step: int | None) -> None:
    """Raise NumericError, naming stage and step (counted from 1), unless all of ``x`` (any shape) is finite."""
    if torch.isfinite(x).all():
        return
    bad = int((~torch.isfinite(x)).sum())
    where = stage if step is None else f"{stage}, step {step}"
    raise NumericError(
        f"{where}: {bad} of {x.numel()} values are NaN or infinite, so there is no picture; "
        "try --precision full, and if that fails too the checkpoint itself is damaged"
    )

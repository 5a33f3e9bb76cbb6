"""Classifier-free guidance (Ho & Salimans 2022), in the web-UI convention: scale 1 is no guidance.

Predictions and clean latents may both be combined: they depend on each other linearly, so the result is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def combine(conds: Sequence[Tensor], weights: Sequence[float], uncond: Tensor | None, scale: float) -> Tensor:
    """Guidance by several prompts joined with AND: ``uncond + scale * sum(w_i * (cond_i - uncond))``.

    Follows the web UI's ``combine_denoised`` (composable diffusion, Liu et al. 2022): weights are not normalised.

    Args:
        conds: one prediction (B, C, H, W) for each prompt.
        weights: one factor for each prompt.
        uncond: prediction for the negative prompt. ``None`` stands for "not computed", and is right only for a
            single prompt of weight 1 at scale 1, where it cancels.

    Raises:
        ValueError: no prompt, counts that differ, or ``uncond`` missing where it counts.
    """
    if not conds or len(conds) != len(weights):
        raise ValueError(f"{len(conds)} predictions and {len(weights)} weights; give as many, and at least one")
    if len(conds) == 1 and scale * weights[0] == 1:
        return conds[0]
    if uncond is None:
        raise ValueError("guidance needs the prediction for the negative prompt")
    total = uncond
    for cond, weight in zip(conds, weights, strict=True):
        total = total + (cond - uncond) * (weight * scale)
    return total


def rescale(guided: Tensor, positive: Tensor, phi: float) -> Tensor:
    """Guidance that does not over-expose: ``guided`` with ``phi`` of the way to the deviation of ``positive``.

    Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", section 3.4; 0 changes nothing.

    Args:
        guided, positive: (B, C, H, W), the guided prediction and that for the prompt alone.
    """
    if phi == 0:
        return guided
    across = tuple(range(1, guided.ndim))
    ratio = positive.std(dim=across, keepdim=True) / guided.std(dim=across, keepdim=True)
    return guided * (phi * ratio + (1 - phi))

"""The loop over the steps: a generator, so that the caller reports progress, cancels and keeps resume points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from torch import Tensor

from sfumato.runtime.finite import check_finite
from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Solver, State


class StepNoise(Protocol):
    """The random numbers of a batch, by step (``sfumato.runtime.rng.BatchNoise``)."""

    def at(self, step: int) -> Callable[[int], Tensor]:
        """The draws of a step: draw number to standard-normal noise of the latent's shape."""
        ...


@dataclass(frozen=True, eq=False)
class Step:
    """One finished step: all that a preview shows and a resume needs.

    To go on after it: ``integrate(..., x=step.x, start=step.index + 1, state=step.state)`` with the same other
    arguments gives the same bits as a run in one piece.

    Attributes:
        index: the step, from 0; ``total`` counts all.
        sigma: the noise level that x now has.
        x: (B, C, H, W) in sigma space.
        x0: (B, C, H, W), the clean latent as the step last saw it; for previews.
        state: the solver's memory: tensors of the latent's shape.
    """

    index: int
    total: int
    sigma: float
    x: Tensor
    x0: Tensor
    state: State


def integrate(
    solver: Solver,
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    noise: StepNoise,
    *,
    start: int = 0,
    state: State | None = None,
) -> Iterator[Step]:
    """Solve from ``sigmas[start]`` to the last level, a step at a time.

    Args:
        x: (B, C, H, W) in sigma space, with noise of level ``sigmas[start]``.
        sigmas: falling levels; the last may be 0.
        start, state: where to resume, from a :class:`Step`. (To begin at a lower noise level instead, as image to image
            does, give the tail of the levels.)

    Raises:
        ValueError: levels that do not fall, or a start out of range.
        NumericError: NaN or infinity after a step.
    """
    levels = _check(sigmas, start)
    state = solver.start(x, levels) if state is None else state
    for index in range(start, len(levels) - 1):
        watched = _Watched(denoise)
        x, state = solver.step(watched, x, levels, index, state, noise.at(index))
        check_finite(x, "sampling", index + 1)
        seen = x if watched.x0 is None else watched.x0
        yield Step(index=index, total=len(levels) - 1, sigma=levels[index + 1], x=x, x0=seen, state=state)


class _Watched:
    """A denoiser that keeps the last clean latent it gave."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise = denoise
        self.x0: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.x0 = self._denoise(x, sigma)
        return self.x0


def _check(sigmas: Tensor | Sequence[float], start: int) -> list[float]:
    levels = sigmas.tolist() if isinstance(sigmas, Tensor) else [float(level) for level in sigmas]
    falls = all(high > low for high, low in pairwise(levels))
    if len(levels) < 2 or not falls or not levels[-1] >= 0:
        raise ValueError(f"sigmas must fall strictly to 0 or more; got {levels[:4]}… of length {len(levels)}")
    if not 0 <= start < len(levels):
        raise ValueError(f"start is {start}; give a step from 0 to {len(levels) - 1}")
    return levels

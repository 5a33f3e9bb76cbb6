"""Tensors that are worked out at each use, so that they take no memory between, or once for several uses in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Holding:
    """For layers that are used whole, and also piece by piece."""

    _holds = False
    _kept: Tensor | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, what is worked out at every use is worked out once."""
        self._holds = True
        try:
            yield
        finally:
            self._holds, self._kept = False, None

    def _once(self, dtype: torch.dtype, make: Callable[[torch.dtype], Tensor]) -> Tensor:
        if self._kept is not None and self._kept.dtype == dtype:
            return self._kept
        made = make(dtype)
        if self._holds:
            self._kept = made
        return made

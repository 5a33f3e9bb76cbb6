from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import NumericError
from sfumato.runtime.finite import check_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_values_pass(dtype):
    check_finite(torch.tensor([0.0, -6e4, 6e4], dtype=dtype), "sampling", 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_anything_else_names_the_stage_the_step_and_how_many(bad):
    with pytest.raises(NumericError, match=r"sampling, step 3: 2 of 4 values .*--precision full"):
        check_finite(torch.tensor([[1.0, bad], [bad, 2.0]]), "sampling", 3)


def test_a_stage_without_steps_is_named_alone():
    with pytest.raises(NumericError, match=r"^decode: 1 of 1"):
        check_finite(torch.tensor(math.nan), "decode", None)

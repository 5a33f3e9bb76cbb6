from __future__ import annotations

import pytest
import torch

from sfumato.errors import DeviceError
from sfumato.runtime.device import DeviceFacts
from sfumato.runtime.precision import choose

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16


def facts(kind="cpu", *, bf16=False, fp16=False):
    return DeviceFacts(kind, "a device", 8 * 2**30, 4 * 2**30, bf16, fp16)


@pytest.mark.parametrize(
    ("wish", "device", "dtype", "vae_dtype"),
    [
        ("autocast", facts("cpu", bf16=True), BF16, BF16),
        ("autocast", facts("cpu"), F32, F32),
        ("autocast", facts("cpu", fp16=True), F32, F32),
        ("autocast", facts("cuda", bf16=True, fp16=True), BF16, BF16),
        ("autocast", facts("cuda", fp16=True), F16, F32),
        ("autocast", facts("mps", fp16=True), F16, F32),
        ("autocast", facts("cuda"), F32, F32),
        ("full", facts("cpu", bf16=True), F32, F32),
        ("full", facts("cuda", bf16=True, fp16=True), F32, F32),
        ("bf16", facts("cpu"), BF16, BF16),
        ("half", facts("cuda", fp16=True), F16, F32),
        ("int8", facts("cpu", bf16=True), BF16, BF16),
        ("int8", facts("cpu"), F32, F32),
    ],
)
def test_a_wish_and_a_device_give_the_formats(wish, device, dtype, vae_dtype):
    chosen = choose(wish, device)

    assert (chosen.dtype, chosen.vae_dtype) == (dtype, vae_dtype)
    assert chosen.reason
    assert chosen.int8 == (wish == "int8")


def test_float16_on_a_cpu_is_refused_with_what_to_use_instead():
    with pytest.raises(DeviceError, match="--precision bf16"):
        choose("half", facts("cpu", bf16=True))


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(DeviceError, match=r"'ful'.*full"):
        choose("ful", facts())

from __future__ import annotations

import pytest
import torch

from sfumato.errors import DeviceError
from sfumato.runtime import device
from sfumato.runtime.device import DeviceFacts, all_devices, cpu_features, probe


def test_the_cpu_is_always_there_and_comes_last():
    facts = all_devices()[-1]

    assert facts.kind == "cpu"
    assert facts.name
    assert 0 < facts.free_memory <= facts.total_memory
    assert not facts.fp16


def test_fast_bfloat16_is_claimed_only_with_an_instruction_for_it():
    facts = probe("cpu")

    assert facts.cpu_features == cpu_features()
    assert facts.bf16 == any("bf16" in feature for feature in facts.cpu_features)


def test_auto_takes_a_gpu_before_the_cpu(monkeypatch):
    found = [DeviceFacts(kind, kind, 1, 1, True, True) for kind in ("cpu", "mps", "cuda")]
    monkeypatch.setattr(device, "all_devices", lambda: found)

    assert probe().kind == "cuda"
    assert probe("mps").kind == "mps"


def test_a_device_that_is_not_there_says_what_is(monkeypatch):
    monkeypatch.setattr(device, "all_devices", lambda: [DeviceFacts("cpu", "x", 1, 1, False, False)])

    with pytest.raises(DeviceError, match=r"'cuda' is not available.*sees only cpu.*--device cpu"):
        probe("cuda")


def test_an_unknown_device_names_the_nearest():
    with pytest.raises(DeviceError, match=r"'cudda'.*cuda"):
        probe("cudda")


def test_a_gpu_is_described_by_what_torch_says_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3, 4))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")

    facts = all_devices()[0]

    assert facts == DeviceFacts("cuda", "a card", 4, 3, bf16=False, fp16=True)

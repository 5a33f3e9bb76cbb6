from __future__ import annotations

import sys

import pytest
import torch

from sfumato.errors import OutOfMemoryError
from sfumato.runtime import memory

MB = 2**20


def test_the_peak_is_in_bytes_and_grows_by_what_is_used():
    memory.reset_peak()
    before = memory.peak_rss()
    torch.ones(200 * MB // 4)

    assert 10 * MB < before < 2**40
    assert memory.peak_rss() >= before + 100 * MB or not sys.platform.startswith("linux")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can count anew")
def test_counting_anew_forgets_an_old_peak():
    torch.ones(400 * MB // 4)
    high = memory.peak_rss()

    if not memory.reset_peak():
        pytest.skip("this system does not let a process do it")
    assert memory.peak_rss() < high - 100 * MB


def test_without_proc_the_resource_counter_serves(monkeypatch, tmp_path):
    if sys.platform == "win32":
        pytest.skip("Windows has neither")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "none")

    assert memory.reset_peak() is False
    assert 10 * MB < memory.peak_rss() < 2**40


@pytest.mark.parametrize("fail", [lambda: torch.empty(2**55), lambda: bytearray(2**60)], ids=["torch", "python"])
def test_a_real_allocator_that_fails_is_told_in_words(fail):
    words = "not enough memory for a test; take a smaller size"
    with pytest.raises(OutOfMemoryError, match=words), memory.worded_exhaustion("a test"):
        fail()


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="must match"), memory.worded_exhaustion("a test"):
        torch.ones(2) + torch.ones(3)

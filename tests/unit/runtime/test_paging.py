"""Weights in a mapped file: the same numbers, out of memory when released."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sfumato.runtime.paging import Pages


def _network(width: int = 64) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.GroupNorm(2, width), nn.Flatten(), nn.Linear(width * 36, 10))
    layers.register_buffer("table", torch.arange(7))
    layers.register_buffer("nothing", torch.empty(0))
    return layers.eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_network_gives_the_same(dtype: torch.dtype, layout: torch.memory_format, tmp_path: Path) -> None:
    network = _network().to(dtype).to(memory_format=layout)
    x = torch.randn(2, 3, 8, 8).to(dtype)
    wanted, weights = network(x), {name: value.clone() for name, value in network.state_dict().items()}
    strides = [value.stride() for value in network.parameters()]

    pages = Pages(network, tmp_path / "cache")
    for _ in range(2):
        torch.testing.assert_close(network(x), wanted, rtol=0, atol=0)
        pages.release()

    torch.testing.assert_close(dict(network.state_dict()), weights, rtol=0, atol=0)
    assert [value.stride() for value in network.parameters()] == strides
    assert list((tmp_path / "cache").iterdir()) == []


def test_memory_comes_back(tmp_path: Path) -> None:
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("only Linux counts pages there")

    def resident() -> int:
        return int(status.read_text().split()[1]) * 4096

    network = nn.Linear(4096, 8192, bias=False).requires_grad_(False)
    pages = Pages(network, tmp_path)
    network(torch.ones(1, 4096))
    before = resident()
    pages.release()

    assert before - resident() > 0.9 * 4 * 4096 * 8192


def test_a_folder_that_can_not_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    network = _network()
    wanted = network.state_dict()["0.weight"].clone()

    with pytest.raises(OSError, match="file"):
        Pages(network, tmp_path / "file")
    assert torch.equal(network.state_dict()["0.weight"], wanted)

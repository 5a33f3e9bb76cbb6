"""Convolutions that wrap around, against PyTorch's own circular padding, and as before when it is over."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sfumato.runtime.adapted import Attachment
from sfumato.runtime.changes import Branch
from sfumato.runtime.packed import PackedConv2d, can_pack
from sfumato.runtime.seamless import around, seamless

STEPS = [
    {"padding": 1},
    {"padding": 1, "stride": 2},
    {"padding": 2, "dilation": 2},
    {"padding": (1, 0)},
    {"padding": 0},
]


def _layers(kernel: int = 3, **steps: object) -> tuple[nn.Sequential, nn.Conv2d]:
    """A convolution in a network, and one of the same weights that PyTorch itself lets wrap."""
    torch.manual_seed(1)
    plain, circular = (nn.Conv2d(3, 5, kernel, **steps, padding_mode=mode) for mode in ("zeros", "circular"))
    circular.load_state_dict(plain.state_dict())
    return nn.Sequential(plain), circular


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 1), (2, 1)])
def test_as_circular_padding(steps: dict[str, object], size: tuple[int, int]) -> None:
    network, circular = _layers(**steps)
    x = torch.randn(2, 3, *size)
    if min(size) < 3 and (steps["padding"] in (0, 2, (1, 0))):
        pytest.skip("PyTorch itself can't")
    before = network(x)

    with seamless(network):
        inside = network(x)

    torch.testing.assert_close(inside, circular(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(network(x), before)


def test_an_error_leaves_the_network_as_it_was() -> None:
    network, _ = _layers(padding=1)
    x = torch.randn(1, 3, 4, 4)
    before = network(x)

    with pytest.raises(KeyError), seamless(network):
        raise KeyError

    assert torch.equal(network(x), before)
    assert not network[0]._forward_hooks
    assert not network[0]._forward_pre_hooks


def test_a_layer_with_a_lora_wraps_around_with_it() -> None:
    network, circular = _layers(padding=1)
    down, up = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    x = torch.randn(1, 3, 6, 6)
    expected = circular(x) + nn.functional.conv2d(nn.functional.conv2d(around(x, 1, 1), down), up)

    Attachment(network, {"0": [Branch(down, up, 1.0)]})
    with seamless(network), torch.inference_mode():
        found = network(x)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not can_pack(), reason="this processor has no packed layers")
def test_a_packed_layer_wraps_around() -> None:
    network, circular = _layers(padding=1, stride=2)
    network, circular = network.to(torch.bfloat16), circular.to(torch.bfloat16)
    packed = nn.Sequential(PackedConv2d(network[0]))
    x = torch.randn(1, 3, 8, 8, dtype=torch.bfloat16)

    with seamless(packed), torch.inference_mode():
        found = packed(x)

    torch.testing.assert_close(found, circular(x), rtol=0.02, atol=0.02)


def test_around_repeats_what_is_small() -> None:
    x = torch.arange(2.0).view(1, 1, 1, 2)

    assert around(x, 0, 3).flatten().tolist() == [1, 0, 1, 0, 1, 0, 1, 0]

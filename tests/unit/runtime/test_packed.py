"""Packed weights compute what the stock layers compute, and hold the same numbers."""

import pytest
import torch
from torch import nn

from sfumato.runtime.feed_forward import TiledFeedForward
from sfumato.runtime.packed import PackedConv2d, PackedHalves, PackedLinear, can_pack, pack

pytestmark = pytest.mark.skipif(not can_pack(), reason="no packed kernels on this machine")


class Mixed(nn.Module):
    """One layer of each kind that a UNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(4, 32, 3, padding=1)
        self.down = nn.Conv2d(32, 32, 3, stride=2, padding=1, bias=False)
        self.words = nn.Linear(32, 48, bias=False)
        self.norm = nn.GroupNorm(8, 32)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def forward(self, x):
        return self.words(self.grouped(self.norm(self.down(self.entry(x)))).flatten(2).transpose(1, 2))


def _mixed(dtype):
    torch.manual_seed(0)
    return Mixed().to(dtype).to(memory_format=torch.channels_last).eval()


@pytest.mark.parametrize("side", [8, 20, 66])
def test_a_packed_network_gives_what_it_gave(side):
    x = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(1)).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    plain, packed, exact = _mixed(torch.bfloat16), _mixed(torch.bfloat16), _mixed(torch.float32)

    with torch.inference_mode():
        pack(packed)
        truth, before, after = exact(x.float()), plain(x).float(), packed(x).float()

    assert (after - truth).norm() < 1.2 * (before - truth).norm()


def test_layers_that_can_be_are_packed_and_others_become_bfloat16():
    network = _mixed(torch.float16)

    pack(network)

    assert isinstance(network.entry, PackedConv2d)
    assert isinstance(network.down, PackedConv2d)
    assert isinstance(network.words, PackedLinear)
    assert isinstance(network.grouped, nn.Conv2d)
    assert network.grouped.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_weights_of_other_types_are_packed_as_torch_would_turn_them(dtype):
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.float16)  # the subnormal ones too
    every = every[every.isfinite()].view(64, 992)
    weight = every if dtype is torch.float16 else every.float().mul(1.001).clamp(-448, 448).to(dtype)
    conv, linear = nn.Conv2d(248, 64, 2), nn.Linear(992, 64)
    conv.weight = nn.Parameter(weight.view(64, 248, 2, 2), requires_grad=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    network = nn.Sequential(conv, linear)

    pack(network)

    assert torch.equal(network[0].weight.flatten(1), weight.bfloat16())
    assert torch.equal(network[1].weight, weight.bfloat16())


def test_the_weights_can_be_read_back_to_the_bit():
    network, plain = _mixed(torch.bfloat16), _mixed(torch.bfloat16)

    pack(network)

    assert torch.equal(network.entry.weight, plain.entry.weight)
    assert torch.equal(network.words.weight, plain.words.weight)


def test_a_gated_feed_forward_is_packed_by_halves():
    from diffusers.models.attention import FeedForward

    torch.manual_seed(0)
    feed_forward = FeedForward(32, activation_fn="geglu").bfloat16().eval()
    x = torch.randn(3, 10, 32).bfloat16()
    with torch.inference_mode():
        expected = feed_forward(x)
        outer = nn.ModuleList([TiledFeedForward(feed_forward.net)])
        pack(outer)

        torch.testing.assert_close(outer[0](x), expected, rtol=0.02, atol=0.02)
    assert isinstance(outer[0].net[0].proj, PackedHalves)

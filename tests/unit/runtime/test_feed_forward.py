from __future__ import annotations

import pytest
import torch
from diffusers.models.attention import FeedForward

from sfumato.runtime import feed_forward
from sfumato.runtime.feed_forward import TiledFeedForward, use_tiled_feed_forward


@pytest.mark.parametrize("tile", [1, 600, 2**20])
@pytest.mark.parametrize("bias", [True, False])
def test_any_tile_gives_diffusers_result(monkeypatch, tile, bias):
    monkeypatch.setattr(feed_forward, "TILE_NUMBERS", tile)
    torch.manual_seed(0)
    network = torch.nn.ModuleDict({"ff": FeedForward(24, bias=bias)}).eval()
    x = torch.randn(2, 30, 24)
    with torch.inference_mode():
        expected = network["ff"](x)
        use_tiled_feed_forward(network)

        torch.testing.assert_close(network["ff"](x), expected, rtol=0, atol=1e-5)


def test_parameters_keep_their_names_and_storage():
    network = torch.nn.ModuleDict({"ff": FeedForward(16)}).eval()
    before = {name: value.data_ptr() for name, value in network.state_dict().items()}

    use_tiled_feed_forward(network)

    assert isinstance(network["ff"], TiledFeedForward)
    assert {name: value.data_ptr() for name, value in network.state_dict().items()} == before
    assert not network["ff"].training


def test_other_activations_are_left_alone():
    network = torch.nn.ModuleDict({"ff": FeedForward(16, activation_fn="gelu")})

    use_tiled_feed_forward(network)

    assert type(network["ff"]) is FeedForward

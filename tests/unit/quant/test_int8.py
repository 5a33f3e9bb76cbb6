"""Weights of 8 bits: how near they are, in which layers, and what a model draws with them."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.engine.studio import Studio
from sfumato.quant.int8 import LEAST, pack, pack_network
from sfumato.quant.layers import QuantConv2d, QuantEmbedding, QuantLayer, QuantLinear
from sfumato.quant.streamed import place
from sfumato.quant.unpack import unpack
from sfumato.request import Txt2ImgRequest
from sfumato.weights.remote import Remote


def _error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("shape", [(320, 1280), (64, 32, 3, 3), (1000, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_within_a_percent(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(dtype)
    blocks = pack(weight)
    assert blocks is not None
    back = unpack(blocks, torch.float32)

    assert _error(back, weight.float()) < 0.01
    assert back.shape == weight.shape
    steps = (weight.float().flatten(1).abs().amax(1) / 127 * (1 + 2**-7)).view(-1, *[1] * (len(shape) - 1))
    assert bool(((back - weight.float()).abs() <= steps / 2 * 1.001).all())
    assert blocks.data.nbytes == weight.numel() + 2 * shape[0]


def test_what_is_nothing_or_odd() -> None:
    zeros = pack(torch.zeros(4, 8))
    assert zeros is not None
    assert torch.equal(unpack(zeros, torch.float32), torch.zeros(4, 8))
    assert pack(torch.ones(4, 7)) is None


@torch.no_grad()
def test_large_layers_are_packed_and_compute_with_what_they_unpack() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {
            "linear": nn.Linear(96, 64),
            "streamed": nn.Linear(96, 64),
            "conv": nn.Conv2d(16, 32, 3, stride=2, padding=1),
            "table": nn.Embedding(100, 64),
            "streamed_table": nn.Embedding(100, 64),
            "small": nn.Linear(8, 8),
        }
    )
    weights = {name: layer.weight.data.clone() for name, layer in network.items()}
    for name in ("streamed", "streamed_table"):
        remote = Remote(functools.partial(weights.__getitem__, name), weights[name].shape, torch.float32)
        assert place(network, f"{name}.weight", remote, torch.float32)

    pack_network(network, torch.float32)

    kinds = {name: type(layer) for name, layer in network.items()}
    assert kinds == {
        "linear": QuantLinear,
        "streamed": QuantLinear,
        "conv": QuantConv2d,
        "table": QuantEmbedding,
        "streamed_table": QuantEmbedding,
        "small": nn.Linear,
    }
    assert all(weights[name].numel() >= LEAST for name in kinds if name != "small")
    x, picture = torch.randn(5, 96), torch.randn(1, 16, 8, 8)
    for name in ("linear", "streamed"):
        wanted = nn.functional.linear(x, network[name].weight, network[name].bias)
        torch.testing.assert_close(network[name](x), wanted, rtol=0, atol=0)
        assert _error(network[name].weight, weights[name]) < 0.01
    wanted = nn.functional.conv2d(picture, network["conv"].weight, network["conv"].bias, 2, 1)
    torch.testing.assert_close(network["conv"](picture), wanted, rtol=0, atol=0)
    for name in ("table", "streamed_table"):
        assert _error(network[name](torch.tensor([3, 99])), weights[name][[3, 99]]) < 0.01


def test_a_model_draws_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_ldm(tmp_path / "m.safetensors", *make_networks(seed=4))
    request = Txt2ImgRequest(prompt="a cat", steps=4, width=64, height=64, seed=7, cfg_scale=3.0)
    pictures = {}
    for precision in ("full", "int8"):
        studio = Studio(path, device="cpu", precision=precision)
        pictures[precision] = np.asarray(studio.generate(request).images[0]).astype(int)
        networks = studio.load().networks
        packed = [m for n in (networks.unet, networks.vae, networks.text_encoder) for m in n.modules()]
        assert any(isinstance(m, QuantLayer) for m in packed) == (precision == "int8")

    error = np.abs(pictures["full"] - pictures["int8"])
    assert 0 < error.mean() < 4
    assert pictures["full"].std() > 5

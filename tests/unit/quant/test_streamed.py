"""Layers that read their weights at every use: what stock layers give, with LoRAs too, and nothing kept between."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sfumato.quant.streamed import StreamedConv2d, StreamedEmbedding, StreamedLinear, place, settle
from sfumato.runtime.adapted import Attachment
from sfumato.runtime.changes import Branch
from sfumato.runtime.feed_forward import halves
from sfumato.weights.remote import LEAST, Remote, stream
from sfumato.weights.source import TensorSource


def _remote(weight: torch.Tensor, calls: list[int] | None = None) -> Remote:
    def read() -> torch.Tensor:
        if calls is not None:
            calls.append(1)
        return weight

    return Remote(read, weight.shape, weight.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_layers_give_what_stock_layers_give(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    stock, network = (
        nn.ModuleDict(
            {"linear": nn.Linear(24, 16), "conv": nn.Conv2d(8, 6, 3, stride=2, padding=1), "table": nn.Embedding(9, 8)}
        ).to(dtype)
        for _ in range(2)
    )
    network.load_state_dict(stock.state_dict())
    for name in stock:
        assert place(network, f"{name}.weight", _remote(stock[name].weight.data), dtype)
    rows, picture = torch.randn(5, 24).to(dtype), torch.randn(2, 8, 9, 9).to(dtype)

    assert [type(layer) for layer in network.values()] == [StreamedLinear, StreamedConv2d, StreamedEmbedding]
    torch.testing.assert_close(network["linear"](rows), stock["linear"](rows), rtol=0, atol=0)
    torch.testing.assert_close(network["conv"](picture), stock["conv"](picture), rtol=0, atol=0)
    numbers = torch.tensor([[3, 0], [8, 3]])
    torch.testing.assert_close(network["table"](numbers), stock["table"](numbers), rtol=0, atol=0)
    first, second = halves(network["linear"])
    torch.testing.assert_close(torch.cat([first(rows), second(rows)], 1), stock["linear"](rows))


def test_settled_layers_are_stock_ones_with_the_weights_that_the_file_has() -> None:
    torch.manual_seed(0)
    weights = {"linear": torch.randn(16, 24), "conv": torch.randn(6, 8, 3, 3), "table": torch.randn(9, 8)}
    network = nn.ModuleDict(
        {"linear": nn.Linear(24, 16), "conv": nn.Conv2d(8, 6, 3, stride=2, bias=False), "table": nn.Embedding(9, 8)}
    ).eval()
    bias = network["linear"].bias
    for name, weight in weights.items():
        place(network, f"{name}.weight", _remote(weight.half()), torch.bfloat16)

    settle(network)

    assert [type(layer) for layer in network.values()] == [nn.Linear, nn.Conv2d, nn.Embedding]
    assert all(torch.equal(network[name].weight, weight.half()) for name, weight in weights.items())
    assert network["linear"].bias is bias
    assert network["conv"].stride == (2, 2)
    assert not any(module.training for module in network.modules())
    assert not any(network[name].weight.requires_grad for name in weights)


@torch.no_grad()
def test_a_weight_is_read_at_every_use_but_once_while_it_is_held() -> None:
    calls: list[int] = []
    layer = StreamedLinear(_remote(torch.randn(16, 24), calls), None)
    x = torch.randn(3, 24)

    layer(x), layer(x)
    assert len(calls) == 2
    with layer.held():
        layer(x), layer(x)
    assert len(calls) == 3
    layer(x)
    assert len(calls) == 4


@torch.no_grad()
def test_branches_stand_beside_streamed_layers() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"norm": nn.LayerNorm(24), "linear": nn.Linear(24, 16)})
    weight, bias = network["linear"].weight.data.clone(), network["linear"].bias.data.clone()
    place(network, "linear.weight", _remote(weight), torch.float32)
    down, up = torch.randn(4, 24), torch.randn(16, 4)
    attached = Attachment(network, {"linear": [Branch(down, up, 0.5)]})
    x = torch.randn(3, 24)

    wanted = torch.nn.functional.linear(x, weight + 0.5 * up @ down, bias)
    torch.testing.assert_close(network["linear"](x), wanted)
    attached.remove()
    torch.testing.assert_close(network["linear"](x), torch.nn.functional.linear(x, weight, bias), rtol=0, atol=0)


def test_large_weights_of_a_file_are_streamed(tmp_path: Path) -> None:
    side = int(LEAST**0.5)
    tensors = {"large": torch.randn(side, side).half(), "small": torch.randn(4, 4), "line": torch.randn(2 * LEAST)}
    save_file(tensors, tmp_path / "m.safetensors")
    source = TensorSource(tmp_path / "m.safetensors")

    made = stream(source, "large")
    assert isinstance(made, Remote)
    assert (made.shape, made.dtype) == (tensors["large"].shape, torch.float16)
    assert torch.equal(made.read(), tensors["large"])
    assert torch.equal(made.chunk(2)[1].read(), tensors["large"].chunk(2)[1])
    assert torch.equal(made.reshape((side, side, 1, 1)).read(), tensors["large"][..., None, None])
    assert isinstance(stream(source, "small"), torch.Tensor)
    assert isinstance(stream(source, "line"), torch.Tensor)

"""Branches beside single layers: the formula, on stock, packed and halved layers; sizes; and the way back."""

import pytest
import torch
from torch import nn

from sfumato.runtime.adapted import Adapted, Attachment, layers
from sfumato.runtime.changes import Branch
from sfumato.runtime.feed_forward import TiledFeedForward, use_tiled_feed_forward
from sfumato.runtime.packed import can_pack, pack

PACKS = pytest.mark.skipif(not can_pack(), reason="this build of PyTorch packs no weights")


def _branch(out, inside, rank=3, kernel=(), scale=0.7, seed=0):
    g = torch.Generator().manual_seed(seed)
    ones = (1,) * len(kernel)
    return Branch(
        torch.randn(rank, inside, *kernel, generator=g), torch.randn(out, rank, *ones, generator=g) / 4, scale
    )


def _delta(branch):
    """The change of a weight that the branch stands for."""
    down = branch.down.flatten(1)
    change = branch.scale * branch.up.flatten(1) @ down
    return change.view(-1, *branch.down.shape[1:])


@pytest.fixture
def network():
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(6, 5), "point": nn.Conv2d(4, 8, 1), "conv": nn.Conv2d(4, 8, 3, stride=2, padding=1)}
    return nn.ModuleDict(parts).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "kernel"), [("linear", ()), ("linear", (1, 1)), ("point", ()), ("point", (1, 1)), ("conv", (3, 3))]
)
def test_a_branch_is_a_change_of_the_weight(network, name, kernel):
    layer = network[name]
    out, inside = layer.weight.shape[:2]
    ranks = [_branch(out, inside, rank, kernel, seed=rank) for rank in (1, 4)]
    x = torch.randn(2, 7, inside) if name == "linear" else torch.randn(2, inside, 9, 9)
    plain = layer(x)
    attachment = Attachment(network, {name: ranks})
    found = network[name](x)
    attachment.remove()
    assert network[name] is layer
    assert torch.equal(network[name](x), plain)

    layer.weight += sum(_delta(branch) for branch in ranks).view_as(layer.weight)
    torch.testing.assert_close(found, layer(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=PACKS)])
def test_halves_take_their_parts(dtype):
    from diffusers.models.attention import FeedForward

    torch.manual_seed(0)
    stock = nn.ModuleDict({"ff": FeedForward(16, activation_fn="geglu")}).eval()
    branch = _branch(128, 16)
    x = torch.randn(2, 5, 16)
    fast = nn.ModuleDict({"ff": FeedForward(16, activation_fn="geglu")}).eval()
    fast.load_state_dict(stock.state_dict())
    use_tiled_feed_forward(fast.to(dtype))
    fast.register_parameter("norm", nn.Parameter(torch.zeros(1, dtype=dtype)))
    if dtype is torch.bfloat16:
        pack(fast)
    assert isinstance(fast["ff"], TiledFeedForward)
    plain = fast["ff"](x.to(dtype))

    Attachment(stock, {"ff.net.0.proj": [branch]})
    attachment = Attachment(fast, {"ff.net.0.proj": [branch]})
    loose = 1e-5 if dtype is torch.float32 else 0.05
    torch.testing.assert_close(fast["ff"](x.to(dtype)).float(), stock["ff"](x), rtol=loose, atol=loose)
    attachment.remove()
    assert torch.equal(fast["ff"](x.to(dtype)), plain)


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=PACKS)])
def test_the_layers_that_can_have_branches_and_their_sizes(network, packed):
    from diffusers.models.attention import FeedForward

    network["ff"] = FeedForward(16, activation_fn="geglu")
    use_tiled_feed_forward(network)
    if packed:
        pack(network.to(torch.bfloat16))
    sizes = {"linear": (5, 6), "point": (8, 4), "conv": (8, 4, 3, 3), "ff.net.0.proj": (128, 16), "ff.net.2": (16, 64)}

    assert layers(network) == sizes
    assert _branch(8, 4, kernel=(1, 1)).size == sizes["point"]
    assert _branch(8, 4, kernel=(3, 3)).size == sizes["conv"]


def test_a_layer_with_branches_looks_like_the_layer(network):
    Attachment(network, {"linear": [_branch(5, 6)]})

    assert isinstance(network["linear"], Adapted)
    assert network["linear"].out_features == 5
    with pytest.raises(AttributeError):
        network["linear"].nothing  # noqa: B018


def test_an_unknown_layer_leaves_the_others_as_they_were(network):
    layer = network["linear"]
    with pytest.raises(AttributeError):
        Attachment(network, {"linear": [_branch(5, 6)], "absent": [_branch(5, 6)]})

    assert network["linear"] is layer

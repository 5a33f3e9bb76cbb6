"""Packed weights: the bits that the gguf package unpacks, and layers that give what stock layers give with them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.cli import quantize_main
from sfumato.errors import CheckpointError
from sfumato.families import registry
from sfumato.quant.layers import QuantConv2d, QuantEmbedding, QuantLinear, place, unpack_network
from sfumato.quant.unpack import CODECS, unpack
from sfumato.runtime.adapted import Attachment, layers
from sfumato.runtime.changes import Branch
from sfumato.runtime.feed_forward import use_tiled_feed_forward
from sfumato.runtime.packed import PackedConv2d, can_pack, pack
from sfumato.runtime.paging import Pages
from sfumato.weights.blocks import HELD, Blocks
from sfumato.weights.gguf_file import GgufSource

CPU = torch.device("cpu")


def _random(kind, *shape, seed=0):
    """Blocks of any bytes, with scales that are numbers."""
    codec, rng = CODECS[kind], np.random.default_rng(seed)
    count = int(np.prod(shape)) // codec.numbers
    data = rng.integers(0, 256, (count, codec.bytes), dtype=np.uint8)
    places = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q4_1": (0, 2),
              "Q5_1": (0, 2), "BF16": ()}.get(kind, (0,))  # fmt: skip
    for at in places:
        data[:, at : at + 2] = rng.normal(size=(count, 1)).astype(np.float16).view(np.uint8)
    return Blocks(torch.from_numpy(data), kind, torch.Size(shape))


def _packed(weight, kind="Q8_0"):
    data = quantize(weight.detach().float().reshape(-1, 32).numpy(), GGMLQuantizationType[kind])
    return Blocks(torch.from_numpy(data), kind, weight.shape)


@pytest.mark.parametrize("kind", CODECS)
def test_numbers_are_the_gguf_packages_to_the_bit(kind):
    codec = CODECS[kind]
    blocks = _random(kind, 300, 256, seed=len(kind))
    if kind == "BF16":
        blocks.data[:, 1] &= 0xBF  # no infinities
    wanted = dequantize(blocks.data.numpy(), GGMLQuantizationType[kind])

    found = unpack(blocks, torch.float32)

    assert (codec.numbers, codec.bytes) == GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    assert np.array_equal(found.numpy().view(np.int32).ravel(), wanted.astype(np.float32).view(np.int32).ravel())
    assert torch.equal(unpack(blocks, torch.bfloat16), found.bfloat16())


def test_files_hand_out_just_the_types_that_can_be_unpacked():
    assert set(HELD) == set(CODECS)
    with pytest.raises(CheckpointError, match="type IQ1_S can't be read"):
        unpack(Blocks(torch.zeros(1, 50, dtype=torch.uint8), "IQ1_S", torch.Size((256,))), torch.float32)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_give_what_stock_layers_give(dtype):
    torch.manual_seed(0)
    stock = nn.ModuleDict({
        "linear": nn.Linear(64, 48), "bare": nn.Linear(32, 16, bias=False), "table": nn.Embedding(50, 64),
        "conv": nn.Conv2d(32, 16, 3, stride=2, padding=1), "norm": nn.LayerNorm(64),
    }).to(dtype)  # fmt: skip
    stored = {name: _packed(layer.weight) for name, layer in stock.items()}
    for name, layer in stock.items():
        layer.weight.copy_(unpack(stored[name], dtype))
    wide, square, numbers = torch.randn(3, 5, 64).to(dtype), torch.randn(2, 32, 9, 9).to(dtype), torch.tensor([[3, 49]])
    inputs = {"linear": wide, "bare": wide[..., :32], "table": numbers, "conv": square, "norm": wide}
    wanted = {name: layer(inputs[name]) for name, layer in stock.items()}

    placed = {name for name in stock if place(stock, f"{name}.weight", stored[name], dtype)}

    assert placed == {"linear", "bare", "table", "conv"}
    kinds = {"linear": QuantLinear, "bare": QuantLinear, "table": QuantEmbedding, "conv": QuantConv2d}
    for name, kind in kinds.items():
        assert type(stock[name]) is kind
        found = stock[name](inputs[name])
        assert found.dtype == dtype
        assert torch.equal(found, wanted[name])
    assert not any("weight" in name for name in stock.state_dict() if not name.startswith("norm"))

    unpack_network(stock, dtype)
    for name, one in wanted.items():
        assert type(stock[name]).__module__.startswith("torch.nn")
        assert torch.equal(stock[name](inputs[name]), one)


def test_what_takes_no_less_room_packed_is_not_packed():
    layers = nn.ModuleDict({"a": nn.Linear(32, 2), "b": nn.Linear(32, 2)})
    half = Blocks(torch.zeros(64, 2, dtype=torch.uint8), "F16", torch.Size((2, 32)))

    assert not place(layers, "a.weight", half, torch.bfloat16)
    assert place(layers, "b.weight", half, torch.float32)


@torch.no_grad()
def test_gated_networks_unpack_once_for_all_tiles(monkeypatch):
    from diffusers.models.attention import FeedForward

    from sfumato.quant import layers as module
    from sfumato.runtime import feed_forward

    torch.manual_seed(0)
    network = nn.ModuleDict({"ff": FeedForward(32)}).eval()
    names = ("ff.net.0.proj.weight", "ff.net.2.weight")
    for name in names:
        weight = network.get_parameter(name)
        weight.copy_(unpack(_packed(weight), torch.float32))
    x = torch.randn(2, 40, 32)
    wanted = network["ff"](x)
    for name in names:
        assert place(network, name, _packed(network.get_parameter(name)), torch.float32)
    use_tiled_feed_forward(network)
    monkeypatch.setattr(feed_forward, "TILE_NUMBERS", 600)
    calls = []
    monkeypatch.setattr(module, "unpack", lambda *args: calls.append(args) or unpack(*args))

    torch.testing.assert_close(network["ff"](x), wanted, rtol=0, atol=1e-5)
    assert len(calls) == 3

    branch = Branch(torch.randn(2, 32), torch.randn(256, 2), 0.3)
    attachment = Attachment(
        network, {"ff.net.0.proj": [branch], "ff.net.2": [Branch(torch.randn(2, 128), torch.randn(32, 2), 1)]}
    )
    calls.clear()
    changed = network["ff"](x)
    assert len(calls) == 3
    attachment.remove()
    assert (changed - wanted).abs().max() > 0.1
    torch.testing.assert_close(network["ff"](x), wanted, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("path", ["linear", "conv"])
def test_branches_add_their_product_to_packed_layers(path):
    torch.manual_seed(0)
    network = nn.ModuleDict({"linear": nn.Linear(32, 16), "conv": nn.Conv2d(32, 16, 3, padding=1)})
    sizes = layers(network)
    for name in ("linear", "conv"):
        place(network, f"{name}.weight", _packed(network[name].weight), torch.float32)
    assert layers(network) == sizes
    kernel = (3, 3) if path == "conv" else ()
    branch = Branch(torch.randn(4, 32, *kernel), torch.randn(16, 4, *[1 for _ in kernel]), 0.5)
    x = torch.randn(1, 32, 8, 8) if path == "conv" else torch.randn(3, 32)
    before, bytes_before = network[path](x), network[path].packed.data.clone()
    weight = network[path].weight
    delta = (branch.up.flatten(1) @ branch.down.flatten(1)).view_as(weight) * 0.5
    bias = network[path].bias

    attachment = Attachment(network, {path: [branch]})
    found = network[path](x)
    attachment.remove()

    function = nn.functional.conv2d if path == "conv" else nn.functional.linear
    more = {"padding": 1} if path == "conv" else {}
    torch.testing.assert_close(found, function(x, weight + delta, bias, **more), rtol=1e-4, atol=1e-4)
    assert torch.equal(network[path](x), before)
    assert torch.equal(network[path].packed.data, bytes_before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    plain = write_ldm(folder / "m.safetensors", *make_networks(seed=4))
    code = quantize_main(["--model_path", str(plain), "--output_path", str(folder / "m.gguf"), "--layout", "compact"])
    assert code == 0
    return folder / "m.gguf"


def _stock(networks):
    """The layers that hold their weights as numbers, with more of them than a few."""
    network = nn.ModuleList([networks.unet, networks.vae, networks.text_encoder])
    return [
        name
        for name, layer in network.named_modules()
        if type(layer) in (nn.Linear, nn.Conv2d, nn.Embedding) and layer.weight.numel() > 20_000
    ]


def test_a_loaded_file_stays_packed_and_unpacks_to_what_it_holds(model):
    networks = registry.load(model, torch.float32, torch.float32, CPU)
    source = GgufSource(model)

    assert _stock(networks) == []
    layer = networks.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(layer.weight, source.get(name))
    assert layer.packed.kind == "Q4_0"
    table = networks.text_encoder.get_input_embeddings()
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    assert torch.equal(table(torch.tensor([[7, 3]])), source.get(name)[torch.tensor([[7, 3]])])


@pytest.mark.skipif(not can_pack(), reason="this build of PyTorch packs no weights")
@torch.no_grad()
def test_layouts_for_bfloat16_kernels_leave_packed_layers_alone():
    network = nn.ModuleDict({"quant": nn.Conv2d(32, 16, 3), "plain": nn.Conv2d(32, 16, 3)}).bfloat16()
    place(network, "quant.weight", _packed(network["quant"].weight), torch.bfloat16)

    pack(network.to(memory_format=torch.channels_last))

    assert type(network["quant"]) is QuantConv2d
    assert type(network["plain"]) is PackedConv2d
    x = torch.randn(1, 32, 8, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    assert network["quant"](x).shape == (1, 16, 6, 6)


def test_parts_that_would_cut_blocks_are_refused():
    blocks = _random("Q8_0", 3, 32)
    assert [part.shape for part in blocks.chunk(3)] == [(1, 32)] * 3
    assert not blocks.can_split(2)
    with pytest.raises(ValueError, match="has no 2 equal parts"):
        blocks.chunk(2)


def test_a_packed_network_that_is_paged_lets_go_of_its_file(model, tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux lists mappings there")
    networks = registry.load(model, torch.float32, torch.float32, CPU)

    def mapped():
        return sum(str(model) in line for line in maps.read_text().splitlines())

    before = mapped()
    pages = [Pages(network, tmp_path) for network in (networks.unet, networks.vae, networks.text_encoder)]

    assert before > 0
    assert mapped() == 0
    assert len(pages) == 3

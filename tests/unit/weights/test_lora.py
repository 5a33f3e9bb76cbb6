"""Every form of adapter is the change that LyCORIS makes of the same numbers, under every trainer's names."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from safetensors.torch import load_file, save_file
from torch import nn

from sfumato.quant.layers import place
from sfumato.quant.unpack import unpack
from sfumato.runtime.adapted import Attachment, layers
from sfumato.runtime.changes import Branch, Decomposed, Product
from sfumato.runtime.feed_forward import TiledFeedForward
from sfumato.weights.blocks import Blocks
from sfumato.weights.lora import read_lora

GOLDEN = load_file(Path(__file__).parents[2] / "golden" / "lycoris.safetensors")
FORMS = sorted({tuple(name.split(".")[:2]) for name in GOLDEN if ".file." in name})
DORA = sorted({tuple(name.split(".")[:3]) for name in GOLDEN if ".dora" in name})


def _file(path, layer, form, magnitude=None):
    """LyCORIS' own tensors as a file, and of DoRA the lengths."""
    prefix = f"{layer}.{form}.file."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in GOLDEN.items() if name.startswith(prefix)}
    if magnitude is not None:
        tensors[f"lora_unet_{layer}.dora_scale"] = magnitude
    save_file(tensors, path)
    return path


def _network(layer):
    weight = GOLDEN[f"{layer}.weight"]
    made = nn.Linear(16, 24) if layer == "linear" else nn.Conv2d(8, 12, 3, padding=1)
    made.weight = nn.Parameter(weight.clone())
    x = torch.randn(5, 16) if layer == "linear" else torch.randn(2, 8, 6, 6)
    return nn.ModuleDict({layer: made}).requires_grad_(False), x


def _wanted(made, x, weight):
    return F.linear(x, weight, made.bias) if x.ndim == 2 else F.conv2d(x, weight, made.bias, padding=1)


def _changed(path, network, layer, x, strength=1.0):
    change = read_lora(path).branches["unet", layer]
    assert change.fits(layers(network)[layer])
    attachment = Attachment(network, {layer: [change.times(strength)]})
    out = network[layer](x)
    attachment.remove()
    return out


@pytest.mark.parametrize(("layer", "form"), FORMS)
def test_forms_are_lycoris(tmp_path, layer, form):
    torch.manual_seed(0)
    network, x = _network(layer)
    path = _file(tmp_path / "a.safetensors", layer, form)
    whole, plain = GOLDEN[f"{layer}.{form}.weight"], GOLDEN[f"{layer}.weight"]

    found = _changed(path, network, layer, x)
    torch.testing.assert_close(found, _wanted(network[layer], x, whole), rtol=1e-4, atol=1e-4)
    some = _changed(path, network, layer, x, -0.4)
    torch.testing.assert_close(some, _wanted(network[layer], x, plain - 0.4 * (whole - plain)), rtol=1e-4, atol=1e-4)
    assert (whole - plain).abs().max() > 0.1
    kind = Branch if form in ("lora", "tucker") else Product
    assert isinstance(read_lora(path).branches["unet", layer], kind)


@pytest.mark.parametrize(("layer", "form", "dora"), DORA)
def test_lengths_of_their_own_are_lycoris(tmp_path, layer, form, dora):
    torch.manual_seed(0)
    network, x = _network(layer)
    path = _file(tmp_path / "a.safetensors", layer, form, GOLDEN[f"{layer}.{form}.{dora}.scale"])
    whole, plain = GOLDEN[f"{layer}.{form}.{dora}.weight"], GOLDEN[f"{layer}.weight"]

    found = _changed(path, network, layer, x)
    torch.testing.assert_close(found, _wanted(network[layer], x, whole), rtol=1e-4, atol=1e-4)
    half = _changed(path, network, layer, x, 0.5)
    torch.testing.assert_close(half, _wanted(network[layer], x, (whole + plain) / 2), rtol=1e-4, atol=1e-4)
    assert isinstance(read_lora(path).branches["unet", layer], Decomposed)


@pytest.mark.parametrize("form", ["loha", "lokr", "dora0", "dora1"])
def test_gated_layers_have_them_by_halves_and_packed_layers_too(tmp_path, form):
    """The halves of a packed layer, whose weight is as it was packed."""
    from diffusers.models.attention import FeedForward

    torch.manual_seed(0)
    network = nn.ModuleDict({"ff": FeedForward(32)}).eval().requires_grad_(False)
    weight = network["ff"].net[0].proj.weight
    data = torch.from_numpy(quantize(weight.reshape(-1, 32).numpy(), GGMLQuantizationType.Q8_0))
    blocks = Blocks(data, "Q8_0", weight.shape)
    exact = unpack(blocks, torch.float32)
    name = "lora_unet_ff_net_0_proj"
    tensors = {f"{name}.lora_down.weight": torch.randn(2, 32) / 4, f"{name}.lora_up.weight": torch.randn(256, 2) / 4}
    if form.startswith("dora"):
        size = (256, 1) if form == "dora0" else (1, 32)
        tensors[f"{name}.dora_scale"] = torch.rand(size) + 0.5
    elif form == "loha":
        tensors = {f"{name}.hada_w{k}_{s}": torch.randn(*(256, 2) if s == "a" else (2, 32)) / 2
                   for k in (1, 2) for s in "ab"}  # fmt: skip
    else:
        tensors = {f"{name}.lokr_w1": torch.randn(4, 4) / 2, f"{name}.lokr_w2": torch.randn(64, 8) / 2}
    save_file(tensors, tmp_path / "a.safetensors")
    change = read_lora(tmp_path / "a.safetensors").branches["unet", "ff_net_0_proj"]
    inner = change.change if isinstance(change, Decomposed) else change
    whole = exact + inner.matrix()
    if isinstance(change, Decomposed):
        whole = whole * tensors[f"{name}.dora_scale"] / whole.norm(dim=1 - int(form == "dora1"), keepdim=True)
    x = torch.randn(3, 7, 32)
    network["ff"].net[0].proj.weight = nn.Parameter(whole, requires_grad=False)
    wanted = network["ff"](x)

    assert place(network, "ff.net.0.proj.weight", blocks, torch.float32)
    network["ff"] = TiledFeedForward(network["ff"].net)
    before = network["ff"](x)
    attachment = Attachment(network, {"ff.net.0.proj": [change]})
    torch.testing.assert_close(network["ff"](x), wanted, rtol=1e-3, atol=1e-4)
    attachment.remove()
    assert torch.equal(network["ff"](x), before)
    assert (before - wanted).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "network", "module"),
    [
        ("lora_unet_down_blocks_0_x", "unet", "down_blocks_0_x"),
        ("lycoris_unet_down_blocks_0_x", "unet", "down_blocks_0_x"),
        ("lora_te1_text_model_x", "text_encoder", "text_model_x"),
        ("lora_te2_text_model_x", "text_encoder_2", "text_model_x"),
        ("lora_unet.down_blocks.0.x", "unet", "down_blocks.0.x"),
        ("lora_te.text_model.x", "text_encoder", "text_model.x"),
        ("clip_l.text_model.x", "text_encoder", "text_model.x"),
        ("clip_g.text_model.x", "text_encoder_2", "text_model.x"),
        ("diffusion_model.input_blocks.1.1.x", "unet", "input_blocks.1.1.x"),
        ("model.diffusion_model.input_blocks.1.1.x", "unet", "input_blocks.1.1.x"),
        ("unet.down_blocks.0.x", "unet", "down_blocks.0.x"),
        ("base_model.model.down_blocks.0.x", "unet", "down_blocks.0.x"),
    ],
)
@pytest.mark.parametrize("parts", [("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight")])
def test_names_of_all_trainers_are_known(tmp_path, name, network, module, parts):
    tensors = {f"{name}.{parts[0]}": torch.ones(2, 4), f"{name}.{parts[1]}": torch.ones(3, 2)}
    tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "a.safetensors")

    (key, change), *rest = read_lora(tmp_path / "a.safetensors").branches.items()
    assert (key, rest) == ((network, module), [])
    assert change == Branch(change.down, change.up, 0.5)


def test_pefts_name_of_lengths_is_known(tmp_path):
    name = "base_model.model.x.to_q"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 4), f"{name}.lora_B.weight": torch.ones(3, 2),
               f"{name}.lora_magnitude_vector.weight": torch.ones(3)}  # fmt: skip
    save_file(tensors, tmp_path / "a.safetensors")

    change = read_lora(tmp_path / "a.safetensors").branches["unet", "x.to_q"]
    assert isinstance(change, Decomposed)
    assert not change.by_inputs

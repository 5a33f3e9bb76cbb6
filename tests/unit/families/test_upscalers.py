"""Upscaling networks: all spellings of their files, the arithmetic, tiles, and what is refused."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from sfumato.errors import CheckpointError
from sfumato.families import upscalers

FEATURES, GROWTH, BLOCKS = 8, 4, 2


def rrdb_tensors(doublings: int, unit: int = 1) -> dict[str, torch.Tensor]:
    """Random weights of an RRDBNet under Real-ESRGAN's names."""
    g, made = torch.Generator().manual_seed(0), {}

    def conv(name: str, out: int, given: int) -> None:
        made[f"{name}.weight"] = torch.randn(out, given, 3, 3, generator=g) * (0.7 / (9 * given) ** 0.5)
        made[f"{name}.bias"] = torch.randn(out, generator=g) * 0.01

    conv("conv_first", FEATURES, 3 * unit**2)
    for b in range(BLOCKS):
        for r in (1, 2, 3):
            for k in range(1, 6):
                out = GROWTH if k < 5 else FEATURES
                conv(f"body.{b}.rdb{r}.conv{k}", out, FEATURES + (k - 1) * GROWTH)
    for name in ("conv_body", *(f"conv_up{k + 1}" for k in range(doublings)), "conv_hr"):
        conv(name, FEATURES, FEATURES)
    conv("conv_last", 3, FEATURES)
    return made


def rrdb_by_hand(t: dict[str, torch.Tensor], x: torch.Tensor, doublings: int, unit: int = 1) -> torch.Tensor:
    """What the papers' formulas give, written out."""

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)

    x = first = conv("conv_first", F.pixel_unshuffle(x, unit))
    for b in range(BLOCKS):
        block = x
        for r in (1, 2, 3):
            dense, name = [x], f"body.{b}.rdb{r}.conv"
            for k in range(1, 5):
                dense.append(F.leaky_relu(conv(f"{name}{k}", torch.cat(dense, 1)), 0.2))
            x = x + 0.2 * conv(f"{name}5", torch.cat(dense, 1))
        x = block + 0.2 * x
    x = first + conv("conv_body", x)
    for k in range(doublings):
        x = F.leaky_relu(conv(f"conv_up{k + 1}", x.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
    return conv("conv_last", F.leaky_relu(conv("conv_hr", x), 0.2))


def old_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As ESRGAN's second release spells them."""
    rules = (
        (r"body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2"), ("conv_body", "trunk_conv"), ("conv_hr", "HRconv"),
        ("conv_up", "upconv"),
    )  # fmt: skip
    named = {}
    for name, tensor in tensors.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        named[name] = tensor
    return named


def oldest_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As ESRGAN's first release numbers them."""
    fixed = {"conv_first": "model.0", "conv_body": f"model.1.sub.{BLOCKS}", "conv_up1": "model.3",
             "conv_up2": "model.6", "conv_hr": "model.8", "conv_last": "model.10"}  # fmt: skip
    named = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        inner = re.fullmatch(r"body\.(\d+)\.rdb(\d)\.conv(\d)", layer)
        new = f"model.1.sub.{inner[1]}.RDB{inner[2]}.conv{inner[3]}.0" if inner else fixed[layer]
        named[f"{new}.{kind}"] = tensor
    return named


@pytest.mark.parametrize("spelling", [dict, old_names, oldest_names])
def test_an_rrdbnet_is_read_in_every_spelling(tmp_path, spelling):
    tensors, pixels = rrdb_tensors(2), torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    save_file(spelling(tensors), tmp_path / "net.safetensors")

    network = upscalers.load(tmp_path / "net.safetensors")

    assert network.scale == 4
    torch.testing.assert_close(network(pixels), rrdb_by_hand(tensors, pixels, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("unit", "scale"), [(2, 2), (4, 1)])
def test_smaller_scales_unshuffle_pixels_first(tmp_path, unit, scale):
    tensors, pixels = rrdb_tensors(2, unit), torch.rand(1, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    save_file(tensors, tmp_path / "net.safetensors")

    network = upscalers.load(tmp_path / "net.safetensors")

    assert network.scale == scale
    torch.testing.assert_close(network(pixels), rrdb_by_hand(tensors, pixels, 2, unit), atol=1e-5, rtol=1e-5)
    odd = upscalers.enlarge(network, torch.rand(1, 3, 7, 9))
    assert odd.shape == (1, 3, 7 * scale, 9 * scale)


def test_a_pickled_srvggnet_adds_to_the_nearest_pixels(tmp_path):
    g = torch.Generator().manual_seed(2)
    tensors = {}
    for k, (out, given) in enumerate([(6, 3), (6, 6), (48, 6)]):
        tensors[f"body.{2 * k}.weight"] = torch.randn(out, given, 3, 3, generator=g) * 0.1
        tensors[f"body.{2 * k}.bias"] = torch.randn(out, generator=g) * 0.1
        if k < 2:
            tensors[f"body.{2 * k + 1}.weight"] = torch.rand(out, generator=g)
    torch.save({"params": tensors}, tmp_path / "net.pth")
    pixels = torch.rand(1, 3, 5, 6, generator=g)

    network = upscalers.load(tmp_path / "net.pth")

    x = pixels
    for k in range(3):
        x = F.conv2d(x, tensors[f"body.{2 * k}.weight"], tensors[f"body.{2 * k}.bias"], padding=1)
        x = F.prelu(x, tensors[f"body.{2 * k + 1}.weight"]) if k < 2 else x
    wanted = F.pixel_shuffle(x, 4) + pixels.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(network(pixels), wanted, atol=1e-5, rtol=1e-5)


def test_tiles_give_what_the_whole_gives():
    network = upscalers.build(rrdb_tensors(1), "net")  # type: ignore[arg-type]
    pixels, told = torch.rand(1, 3, 100, 70, generator=torch.Generator().manual_seed(3)), []
    with torch.inference_mode():
        whole = network(pixels)
        tiled = upscalers.enlarge(network, pixels, tile=48, on_tile=lambda done, of: told.append((done, of)))
    torch.testing.assert_close(tiled, whole, atol=2e-3, rtol=0)
    assert told[-1] == (6, 6)


def test_another_network_is_refused_with_what_to_do(tmp_path):
    save_file({"head.weight": torch.zeros(3, 3)}, tmp_path / "swin.safetensors")

    with pytest.raises(CheckpointError, match=r"swin\.safetensors: neither an RRDBNet nor an SRVGGNet"):
        upscalers.load(tmp_path / "swin.safetensors")

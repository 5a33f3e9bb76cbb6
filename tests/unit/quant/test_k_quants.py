"""K-quants: blocks that the gguf package reads, as near to the weights as ggml's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.torch import load_file

from sfumato.quant.k_quants import KINDS, pack
from sfumato.quant.unpack import unpack
from sfumato.weights.blocks import Blocks
from sfumato.weights.gguf_file import GgufSource

GOLDEN = Path(__file__).parents[2] / "golden"


def _again(numbers, kind):
    """The numbers packed and, by the gguf package, unpacked."""
    data = pack(numbers, kind)
    return torch.from_numpy(dequantize(data.numpy(), GGMLQuantizationType[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_packed_is_read_alike_by_the_gguf_package_and_by_us(kind):
    numbers = torch.randn(2000, 256, generator=torch.Generator().manual_seed(0)) * torch.logspace(-5, 2, 2000)[:, None]
    data = pack(numbers, kind)

    assert torch.equal(unpack(Blocks(data, kind, numbers.shape), torch.float32), _again(numbers, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_about_those_of_ggml(kind):
    weights = load_file(GOLDEN / "stable_diffusion_cpp.safetensors")
    name = next(name for name in weights if name.endswith("to_q.weight"))
    exact, theirs = weights[name].float(), GgufSource(GOLDEN / f"stable_diffusion_cpp.{kind.lower()}.gguf").get(name)

    assert (_again(exact, kind) - exact).norm() < 1.04 * (theirs - exact).norm()


@pytest.mark.parametrize(("kind", "bound"), [("Q4_K", 0.004), ("Q5_K", 0.0012), ("Q6_K", 0.00035)])
def test_no_search_on_a_fine_grid_finds_much_less_error(kind, bound):
    """Mean squared errors of normal numbers, of a search over 200 scales a group in float64."""
    numbers = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    group, most = {"Q4_K": (32, 15), "Q5_K": (32, 31), "Q6_K": (16, 63)}[kind]
    x = numbers.view(-1, group).double().numpy()
    low = x.min(1, keepdims=True) if kind != "Q6_K" else -np.abs(x).max(1, keepdims=True)
    high = x.max(1, keepdims=True) if kind != "Q6_K" else np.abs(x).max(1, keepdims=True)
    least = np.full(len(x), np.inf)
    for share in np.linspace(0.8, 1.1, 200):
        step = (high - low) * share / most
        start = low * share
        error = (np.clip(np.round((x - start) / step), 0, most) * step + start - x) ** 2
        least = np.minimum(least, error.mean(1))
    found = (_again(numbers, kind) - numbers).square().mean().item()

    assert found < 1.25 * least.mean() + bound / 10
    assert found < bound * 1.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", ["zeros", "one", "constant", "tiny", "positive"])
def test_special_blocks_stay_what_they_are(kind, numbers):
    x = {
        "zeros": torch.zeros(1, 256),
        "one": torch.zeros(1, 256).index_fill_(1, torch.tensor([17]), -3.0),
        "constant": torch.full((1, 256), 0.25),
        "tiny": torch.full((1, 256), 1e-30),
        "positive": torch.rand(1, 256, generator=torch.Generator().manual_seed(2)) + 3,
    }[numbers]
    again = _again(x, kind)

    assert torch.isfinite(again).all()
    assert (again - x).abs().max() <= 0.06 * x.abs().max() + 1e-8  # float16's smallest scale

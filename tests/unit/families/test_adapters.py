"""LoRAs in all spellings do what they do in diffusers, on stock and on packed layers, and go without a trace."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from loras import write_lora

from sfumato.errors import CheckpointError, RequestError
from sfumato.families import registry, tokens
from sfumato.families.adapters import Adapters, Wish, find_lora
from sfumato.runtime import optimize, packed
from sfumato.runtime.device import probe

CPU = torch.device("cpu")
IDS = torch.tensor([[49406, 320, 2368, 49407, *[49407] * 73]])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(the networks that made the file, the file)."""
    networks = make_networks(seed=2)
    return networks, write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *networks)


def _load(path, dtype=torch.float32):
    return registry.load(path, dtype, dtype, CPU)


@torch.no_grad()
def _outputs(networks):
    torch.manual_seed(1)
    x, words = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 64)
    dtype = networks.unet.dtype
    text = networks.text_encoder(IDS).last_hidden_state
    return networks.unet(x.to(dtype), torch.tensor([3.0, 500.0]), words.to(dtype)).sample.float(), text.float()


def _theirs(networks, path, strength, tmp_path):
    unet, coder, text = (copy.deepcopy(network) for network in networks)
    tokens.clip()._tokenizer.model.save(str(tmp_path))
    tokenizer = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    pipeline = StableDiffusionPipeline(
        coder, text, tokenizer, unet, DDIMScheduler(), None, None, requires_safety_checker=False
    )
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="a")
    pipeline.set_adapters(["a"], [strength])
    return _outputs(pipeline)


@pytest.mark.parametrize("strength", [1.0, -0.6])
@pytest.mark.parametrize(
    ("spelling", "convolutions"), [("kohya", True), ("kohya", False), ("peft", False), ("diffusers", False)]
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_outputs_are_those_of_diffusers(models, tmp_path, spelling, convolutions, strength):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2], spelling, convolutions=convolutions)
    ours = _load(file)
    plain = _outputs(ours)
    assert Adapters(ours).use([Wish(path, strength, strength)])

    for found, wanted, before in zip(_outputs(ours), _theirs(networks, path, strength, tmp_path), plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert (found - before).abs().max() > 0.01


def test_several_add_up_and_go_without_a_trace(models, tmp_path):
    networks, file = models
    one, two = (write_lora(tmp_path / f"{k}.safetensors", networks[0], networks[2], seed=k) for k in (1, 2))
    ours = _load(file)
    adapters, plain = Adapters(ours), _outputs(ours)
    adapters.use([Wish(one), Wish(two, 0.5, 0.0)])
    both = _outputs(ours)
    assert not adapters.use([Wish(one), Wish(two, 0.5, 0.0)])
    adapters.use([Wish(two, 0.5, 0.0), Wish(one)])
    torch.testing.assert_close(_outputs(ours), both, rtol=1e-4, atol=1e-5)

    assert adapters.use([])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(ours), plain, strict=True))


@pytest.mark.skipif(not packed.can_pack(), reason="this build of PyTorch packs no weights")
def test_packed_layers_take_them_too(models, tmp_path):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    stock, fast = _load(file), _load(file, torch.bfloat16)
    optimize.prepare(fast.unet, fast.vae, probe("cpu"))
    Adapters(stock).use([Wish(path)])
    Adapters(fast).use([Wish(path)])
    wanted, found = _outputs(stock)[0], _outputs(fast)[0]

    assert (found - wanted).square().mean() < 0.02 * wanted.square().mean()


def test_what_does_not_fit_is_named_and_nothing_is_changed(models, tmp_path):
    networks, file = models
    ours = _load(file)
    adapters, plain = Adapters(ours), _outputs(ours)
    good = write_lora(tmp_path / "good.safetensors", networks[0], networks[2])
    other = make_networks(widths=(32, 96), seed=1)
    wide = write_lora(tmp_path / "wide.safetensors", other[0], other[2])

    adapters.use([Wish(good)])
    with pytest.raises(CheckpointError, match=r"wide.safetensors: is not made for this model: \d+ of its \d+ branches"):
        adapters.use([Wish(good), Wish(wide)])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(ours), plain, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {**t, "other": torch.zeros(1)}, "1 of .* tensors are no LoRA's, such as other"),
        (lambda t: {"lora_unet_x.hada_w1_a": torch.zeros(1)}, "is a LoHa, which can't be used yet"),
        (lambda t: {k: v for k, v in t.items() if "lora_up" not in k}, "lacks one of its two matrices"),
        (lambda t: {k: v[:, :2].clone() if "lora_up" in k else v for k, v in t.items()}, "do not fit"),
    ],
)
def test_damaged_files_are_said(models, tmp_path, change, words):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path)

    with pytest.raises(CheckpointError, match=words):
        Adapters(_load(file)).use([Wish(path)])


def test_names_are_looked_up_in_the_loras_folders(tmp_path):
    for name in ("loras/fur.safetensors", "Lora/deep/scales.safetensors", "no.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert find_lora("scales", [tmp_path]).name == "scales.safetensors"
    with pytest.raises(RequestError, match="nearest: 'fur'"):
        find_lora("furr", [tmp_path])
    with pytest.raises(RequestError, match="there is no no"):
        find_lora("no", [tmp_path])

"""LoRAs for Stable Diffusion XL do what they do in diffusers, on the UNet and on both text encoders."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from family_models import make_sdxl, pipeline, write_file

from sfumato.errors import CheckpointError
from sfumato.families import registry
from sfumato.families.adapters import Adapters, Wish
from sfumato.families.text import read
from sfumato.weights.keymaps import ldm, ldm_names

CPU, F32 = torch.device("cpu"), torch.float32
PARTS = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}
ENDINGS = ("attn1.to_q", "attn2.to_v", "ff.net.2", "q_proj", "mlp.fc1")


def _write(path, model, spelling):
    """Branches beside some layers of every network."""
    g, tensors = torch.Generator().manual_seed(0), {}
    for part, short in PARTS.items():
        network = getattr(model, part)
        paths = [name for name, _ in network.named_modules() if name.endswith(ENDINGS)]
        old = ldm_names.modules(paths, ldm.configured_shape(network.config)) if part == "unet" else {}
        for name in paths:
            out, into = network.get_submodule(name).weight.shape
            down, up = torch.randn(4, into, generator=g) * 0.1, torch.randn(out, 4, generator=g) * 0.1
            full = name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
            if spelling == "peft":
                tensors |= {f"{part}.{full}.lora_A.weight": down, f"{part}.{full}.lora_B.weight": up}
                continue
            own = old.get(full, full) if spelling == "kohya-ldm" else full
            key = f"lora_{short}_{own.replace('.', '_')}"
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(4.0)}
    save_file(tensors, path)
    return path


@torch.no_grad()
def _outputs(unet, context, pooled):
    torch.manual_seed(1)
    x = torch.randn(1, 4, 8, 8)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
    return unet(x, torch.tensor([500.0]), context, added_cond_kwargs=added).sample, context, pooled


@torch.no_grad()
def _ours(loaded):
    encoding = read(loaded, (("a red cat", 1.0),))
    return _outputs(loaded.unet, encoding.context, encoding.pooled)


@pytest.fixture(scope="module")
def model():
    return make_sdxl(seed=2)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("m") / "m.safetensors", model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_outputs_are_those_of_diffusers(tmp_path, model, file):
    path = _write(tmp_path / "a.safetensors", model, "peft")
    loaded = registry.load(file, F32, F32, CPU)
    plain = _ours(loaded)
    theirs = pipeline(copy.deepcopy(model), tmp_path / "t")
    theirs.load_lora_weights(str(tmp_path), weight_name="a.safetensors", adapter_name="a")
    theirs.set_adapters(["a"], [0.7])
    with torch.no_grad():
        context, _, pooled, _ = theirs.encode_prompt("a red cat", do_classifier_free_guidance=False)

    adapters = Adapters(loaded)
    adapters.use([Wish(path, 0.7, 0.7)])

    for ours, expected, before in zip(_ours(loaded), _outputs(theirs.unet, context, pooled), plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        assert (ours - before).abs().max() > 0.01
    adapters.use([])
    assert all(torch.equal(ours, before) for ours, before in zip(_ours(loaded), plain, strict=True))


def test_spellings_do_the_same(tmp_path, model, file):
    outputs = []
    for spelling in ("peft", "kohya", "kohya-ldm"):
        loaded = registry.load(file, F32, F32, CPU)
        Adapters(loaded).use([Wish(_write(tmp_path / f"{spelling}.safetensors", model, spelling))])
        outputs.append(_ours(loaded))

    for same in zip(*outputs, strict=True):
        assert torch.equal(same[0], same[1])
        assert torch.equal(same[0], same[2])


def test_one_for_another_family_is_told(tmp_path, model):
    old = registry.load(write_ldm(tmp_path / "m.safetensors", *make_networks(seed=2)), F32, F32, CPU)

    with pytest.raises(CheckpointError, match=r"not made for this model \(it looks like one for Stable Diffusion XL\)"):
        Adapters(old).use([Wish(_write(tmp_path / "a.safetensors", model, "kohya"))])

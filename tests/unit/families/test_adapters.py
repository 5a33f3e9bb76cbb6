"""LoRAs in all spellings do what they do in diffusers, on stock and on packed layers, and go without a trace."""

import copy
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from loras import write_lora

from sfumato import families
from sfumato.errors import CheckpointError, RequestError
from sfumato.families import registry, tokens
from sfumato.families.adapters import Adapters, Wish, find_lora
from sfumato.runtime import adapted, optimize, packed
from sfumato.runtime.device import probe
from sfumato.weights.lora import read_lora

CPU = torch.device("cpu")
IDS = torch.tensor([[49406, 320, 2368, 49407, *[49407] * 73]])


WIDE = (
    r"wide.safetensors: is not made for this model: 33 of its 91 branches fit no layer, "
    r"such as unet.down_blocks_1_\S+, which is \(64, 32, 3, 3\) in the model and \(96, 32, 3, 3\) in the file"
)


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
    Adapters(ours).use([Wish(path, strength, strength)])

    for found, wanted, before in zip(_outputs(ours), _theirs(networks, path, strength, tmp_path), plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert (found - before).abs().max() > 0.01


def test_ldms_names_of_blocks_are_known(models, tmp_path):
    networks, file = models
    outputs = []
    for spelling in ("kohya", "kohya-ldm"):
        path = write_lora(tmp_path / f"{spelling}.safetensors", networks[0], networks[2], spelling)
        ours = _load(file)
        Adapters(ours).use([Wish(path)])
        outputs.append(_outputs(ours))

    names = load_file(path).keys()
    assert {"lora_unet_input_blocks_2_0_op.alpha", "lora_unet_middle_block_0_emb_layers_1.alpha"} <= names
    assert "lora_unet_output_blocks_3_1_transformer_blocks_0_ff_net_0_proj.alpha" in names
    assert not any("down_blocks" in name for name in names)
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("rslora", [False, True])
def test_a_file_that_diffusers_wrote_counts_as_much_as_its_metadata_says(models, tmp_path, rslora):
    networks, file = models
    unet, text = copy.deepcopy(networks[0]), copy.deepcopy(networks[2])
    torch.manual_seed(3)
    common = {"r": 4, "use_rslora": rslora, "init_lora_weights": False}
    patterns = {"rank_pattern": {"attn1.to_k": 2}, "alpha_pattern": {"attn1.to_k": 3, "to_q": 7}}
    unet.add_adapter(LoraConfig(lora_alpha=6, target_modules=["to_k", "to_q", "conv1"], **patterns, **common))
    inject_adapter_in_model(LoraConfig(lora_alpha=1, target_modules=["q_proj", "fc1"], **common), text)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, get_peft_model_state_dict(unet), get_peft_model_state_dict(text), weight_name="a.safetensors",
        **_collate_lora_metadata({"unet": unet, "text_encoder": text}),
    )  # fmt: skip
    ours = _load(file)
    Adapters(ours).use([Wish(tmp_path / "a.safetensors")])

    wanted = _outputs(SimpleNamespace(unet=unet, text_encoder=text))
    torch.testing.assert_close(_outputs(ours), wanted, rtol=1e-4, atol=1e-4)


def test_pefts_own_files_name_no_network(models, tmp_path):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2], "peft")
    bare = {re.sub(r"^(unet|text_encoder)\.", "base_model.model.", n): t for n, t in load_file(path).items()}
    save_file(bare, tmp_path / "bare.safetensors")
    one, other = _load(file), _load(file)
    Adapters(one).use([Wish(path)])
    Adapters(other).use([Wish(tmp_path / "bare.safetensors")])

    assert all(torch.equal(a, b) for a, b in zip(_outputs(one), _outputs(other), strict=True))


def test_several_add_up_and_go_without_a_trace(models, tmp_path):
    networks, file = models
    one, two = (write_lora(tmp_path / f"{k}.safetensors", networks[0], networks[2], seed=k) for k in (1, 2))
    ours = _load(file)
    adapters, plain = Adapters(ours), _outputs(ours)
    adapters.use([Wish(one), Wish(two, 0.5, 0.0)])
    both = _outputs(ours)
    adapters.use([Wish(two, 0.5, 0.0), Wish(one)])
    torch.testing.assert_close(_outputs(ours), both, rtol=1e-4, atol=1e-5)
    adapters.use([Wish(one), Wish(two, 0.0, 0.5)])
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(_outputs(ours), both, strict=True))
    adapters.use([Wish(one), Wish(one, -1, -1)])
    torch.testing.assert_close(_outputs(ours), plain, rtol=1e-4, atol=1e-5)

    adapters.use([])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(ours), plain, strict=True))


def test_what_the_text_encoder_reads_with_is_told_apart(models, tmp_path):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    without = {n: t for n, t in load_file(path).items() if "lora_te_" not in n}
    save_file(without, tmp_path / "unet.safetensors")
    adapters = Adapters(_load(file))

    def reading(*wishes):
        adapters.use(wishes)
        return adapters.reading

    seen = [reading(), reading(Wish(path)), reading(Wish(path, 1, 0.5)), reading(Wish(path), Wish(path))]
    assert len(set(seen)) == 4
    assert reading(Wish(path, 0.3)) == seen[1]
    assert reading(Wish(path, 1, 0)) == reading(Wish(tmp_path / "unet.safetensors")) == reading() == seen[0]
    write_lora(path, networks[0], networks[2], seed=7)
    assert reading(Wish(path)) not in seen


def test_files_are_read_once_and_again_when_they_change(models, tmp_path, monkeypatch):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    ours, reads = _load(file), []
    monkeypatch.setattr(families.adapters, "read_lora", lambda path: reads.append(path) or read_lora(path))
    adapters = Adapters(ours)
    for wishes in ([Wish(path)], [], [Wish(path, 0.5)], [Wish(path)]):
        adapters.use(wishes)
    before = _outputs(ours)
    assert reads == [path]

    write_lora(path, networks[0], networks[2], seed=7)
    adapters.use([Wish(path)])
    assert reads == [path, path]
    assert (_outputs(ours)[0] - before[0]).abs().max() > 1e-3


@pytest.mark.parametrize("place", [40, 88])  # within the UNet, and in the text encoder after the whole UNet
def test_a_failure_half_way_leaves_nothing_on(models, tmp_path, monkeypatch, place):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    ours = _load(file)
    adapters, plain = Adapters(ours), _outputs(ours)
    left = [place]

    class Scarce(adapted.Adapted):
        def __init__(self, *args):
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError
            super().__init__(*args)

    monkeypatch.setattr(adapted, "Adapted", Scarce)
    with pytest.raises(MemoryError):
        adapters.use([Wish(path)])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(ours), plain, strict=True))
    assert not any(isinstance(m, Scarce) for network in (ours.unet, ours.text_encoder) for m in network.modules())

    left[0] = 1000
    adapters.use([Wish(path)])
    assert (_outputs(ours)[0] - plain[0]).abs().max() > 0.01


def test_tiled_layers_in_float32_take_them_too(models, tmp_path):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    stock, fast = _load(file), _load(file)
    optimize.prepare(fast.unet, fast.vae, probe("cpu"), torch.float32)
    Adapters(stock).use([Wish(path)])
    Adapters(fast).use([Wish(path)])

    torch.testing.assert_close(_outputs(fast), _outputs(stock), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not packed.can_pack(), reason="this build of PyTorch packs no weights")
def test_packed_layers_take_them_too(models, tmp_path):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    stock, fast = _load(file), _load(file, torch.bfloat16)
    packed.pack(fast.unet)
    plain = _outputs(fast)
    Adapters(stock).use([Wish(path)])
    adapters = Adapters(fast)
    adapters.use([Wish(path)])

    for wanted, found in zip(_outputs(stock), _outputs(fast), strict=True):
        assert (found - wanted).square().mean() < 0.02 * wanted.square().mean()
    adapters.use([])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(fast), plain, strict=True))


def test_what_does_not_fit_is_named_and_nothing_is_changed(models, tmp_path):
    networks, file = models
    ours = _load(file)
    adapters, plain = Adapters(ours), _outputs(ours)
    good = write_lora(tmp_path / "good.safetensors", networks[0], networks[2])
    other = make_networks(widths=(32, 96), seed=1)
    wide = write_lora(tmp_path / "wide.safetensors", other[0], other[2])

    adapters.use([Wish(good)])
    with pytest.raises(CheckpointError, match=WIDE):
        adapters.use([Wish(good), Wish(wide)])
    assert all(torch.equal(a, b) for a, b in zip(_outputs(ours), plain, strict=True))


def _with(ending, value):
    """A change of the first tensor whose name ends so."""
    return lambda t: {**t, next(n for n in t if n.endswith(ending)): value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {**t, "other": torch.zeros(1)}, "1 of .* tensors are no LoRA's, such as other"),
        (lambda t: {"other": torch.zeros(1)}, "1 of 1 tensors are no LoRA's, such as other"),
        (lambda t: {"lora_unet_x.hada_w1_a": torch.zeros(1)}, "unet.x lacks its 'hada_w1_b'"),
        (lambda t: {"lora_unet_x.lokr_w1": torch.zeros(1)}, "unet.x lacks its 'lokr_w2_a'"),
        (
            lambda t: {f"lora_unet_x.hada_w{k}": torch.zeros(2, 3) for k in ("1_a", "1_b", "2_a", "2_b")},
            r"unet.x: hada_w1_a \(2, 3\), .* do not fit",
        ),
        (lambda t: {**t, "lora_unet_x.dora_scale": torch.zeros(1)}, "unet.x lacks one of its two matrices"),
        (lambda t: {"lora_unet_x.diff": torch.zeros(1)}, "is a difference of whole weights, which can't be used"),
        (lambda t: {k: v for k, v in t.items() if "lora_up" not in k}, "lacks one of its two matrices"),
        (lambda t: {k: v[:, :2].clone() if "lora_up" in k else v for k, v in t.items()}, "do not fit"),
        (_with("lora_down.weight", torch.tensor(1.0)), "do not fit"),
        (_with("lora_down.weight", torch.zeros(0, 32, 1, 1)), "do not fit"),
        (_with("proj_in.lora_down.weight", torch.zeros(4, 32, 3, 3)), r"1 of its 91 .*\(32, 32, 3, 3\) in the file"),
        (_with(".alpha", torch.zeros(2)), "its alpha is of shape .2,. and not one number"),
        (lambda t: t | _pair("lora_unet_down_blocks_0_attentions_0"), "1 of its 92 branches fit no layer"),
        (lambda t: t | _pair("lora_te2_x"), r"looks like one for Stable Diffusion XL\): 1 of its 92"),
    ],
)
def test_damaged_files_and_those_of_other_models_are_said(models, tmp_path, change, words):
    networks, file = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2])
    save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path)

    with pytest.raises(CheckpointError, match=words):
        Adapters(_load(file)).use([Wish(path)])


def _pair(name):
    return {f"{name}.lora_down.weight": torch.zeros(4, 32, 1, 1), f"{name}.lora_up.weight": torch.zeros(32, 4, 1, 1)}


@pytest.mark.parametrize("metadata", ["{", "[]", '{"unet.lora_alpha": "x"}', '{"unet.alpha_pattern": {"to_(k|v)": 2}}'])
def test_metadata_that_can_not_be_followed_is_said(models, tmp_path, metadata):
    networks, _ = models
    path = write_lora(tmp_path / "a.safetensors", networks[0], networks[2], "peft")
    save_file(load_file(path), path, {"lora_adapter_metadata": metadata})

    with pytest.raises(CheckpointError, match="its lora_adapter_metadata can't be read"):
        read_lora(path)


def test_names_are_looked_up_in_the_loras_folders(tmp_path):
    for name in ("loras/fur.safetensors", "Lora/deep/scales.safetensors", "no.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert find_lora("scales", [tmp_path]).name == "scales.safetensors"
    with pytest.raises(RequestError, match="nearest: 'fur'"):
        find_lora("furr", [tmp_path])
    with pytest.raises(RequestError, match=r"there is no no.safetensors in .*loras; `sfumato models` lists"):
        find_lora("no", [tmp_path])

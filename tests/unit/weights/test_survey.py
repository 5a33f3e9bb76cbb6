"""Files by their headers alone: what they are, what they take, and that headers are what the libraries read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import make_networks, write_folder, write_ldm
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from safetensors.torch import load_file, save_file

from sfumato.errors import CheckpointError
from sfumato.families.registry import FAMILIES
from sfumato.weights import survey
from sfumato.weights.detect import LOADABLE
from sfumato.weights.dtypes import GGUF_TYPES, SIZES


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *make_networks(), dtype=torch.float16)


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_sizes_are_those_of_the_gguf_package() -> None:
    theirs = {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items() if kind.name in SIZES}

    assert theirs == {name: SIZES[name] for name in theirs}
    assert len(theirs) > 30
    assert all(GGMLQuantizationType(number).name == name for number, name in GGUF_TYPES.items())


def test_what_is_called_loadable_is_what_the_registry_has() -> None:
    assert set(LOADABLE) == set(FAMILIES)


def test_a_checkpoint(model: Path) -> None:
    tensors = load_file(model)
    numbers = sum(tensor.numel() for tensor in tensors.values())

    found = survey.survey(model)

    assert (found.kind, found.family, found.variant, found.prediction) == ("checkpoint", "sd1", "", "epsilon")
    assert (found.problem, found.bytes, found.tensors) == ("", model.stat().st_size, len(tensors))
    assert sum(found.parts.values()) == sum(found.dtypes.values()) == numbers
    assert set(found.parts) == {"unet", "vae", "text_encoder"}
    assert found.memory["full"] == 2 * found.memory["bf16"] == 4 * numbers
    assert numbers < found.memory["int8"] < 1.02 * numbers


@pytest.mark.parametrize(("channels", "variant"), [(9, "inpainting"), (8, "pix2pix")])
def test_models_that_take_a_picture_load(channels: int, variant: str, model: Path, tmp_path: Path) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    tensors = load_file(model)
    save_file(tensors | {first: torch.zeros(tensors[first].shape[0], channels, 3, 3)}, tmp_path / "m.safetensors")

    found = survey.survey(tmp_path / "m.safetensors")

    assert (found.kind, found.variant, found.problem) == ("checkpoint", variant, "")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_says_what_torch_reads(zipped: bool, model: Path, tmp_path: Path) -> None:
    tensors = load_file(model)
    shared = torch.arange(12.0).reshape(3, 4)
    extra = {"a": shared[1:], "b": shared.t(), "c": torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))}
    content = {
        "state_dict": {**tensors, **extra},
        "global_step": 2**40,
        "epoch": -1,
        "lr": 0.5,
        "hooks": [(None, True)],
    }
    path = tmp_path / "m.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)

    header = survey.any_header(path)

    assert {name: info.shape for name, info in header.tensors.items()} == _plain({**tensors, **extra})
    assert header.tensors["c"].dtype == "BF16"
    assert survey.survey(path).family == "sd1"


def test_a_gguf_says_what_the_package_wrote(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "sd1")
    writer.add_array("sizes", [1, 2, 3])
    writer.add_array("words", ["a", "b"])
    for number, (name, value) in enumerate({"float64": 0.5, "bool": True, "string": "text"}.items()):
        getattr(writer, f"add_{name}")(f"k{number}", value)
    writer.add_tensor("plain", torch.zeros(2, 3, 5).numpy())
    blocks = torch.zeros(4, 18, dtype=torch.uint8).numpy()
    writer.add_tensor("packed", blocks, raw_dtype=GGMLQuantizationType.Q4_0)
    writer.add_array("comfy.gguf.orig_shape.packed", [8, 4, 2, 2])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    header = survey.any_header(tmp_path / "m.gguf")

    assert {name: (info.dtype, info.shape) for name, info in header.tensors.items()} == {
        "plain": ("F32", (2, 3, 5)),
        "packed": ("Q4_0", (8, 4, 2, 2)),
    }
    assert header.metadata == {"general.architecture": "sd1", "k2": "text"}


def test_a_folder_is_one_model(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", *make_networks(), prediction="v_prediction")

    (found,) = survey.surveys([tmp_path])

    assert (found.path, found.family, found.prediction) == (str(tmp_path / "mine"), "sd1", "v_prediction")
    assert set(found.parts) == {"unet", "vae", "text_encoder"}


@pytest.mark.parametrize(
    ("names", "kind", "family", "variant"),
    [
        (
            {"lora_unet_x_attn2_to_k.lora_down.weight": (4, 768), "lora_unet_x_attn2_to_k.alpha": ()},
            "lora",
            "sd1",
            "LoRA",
        ),
        ({"lora_te2_x.lora_down.weight": (4, 1280), "lora_te2_x.lora_up.weight": (1280, 4)}, "lora", "sdxl", "LoRA"),
        ({"lora_unet_x.hada_w1_a": (8, 4), "lora_unet_x.hada_w1_b": (4, 8)}, "lora", "", "LoHa"),
        ({"unet.x.attn2.to_k.lora.down.weight": (4, 1024)}, "lora", "sd2", "LoRA"),
        ({"emb_params": (3, 768)}, "embedding", "sd1", ""),
        ({"clip_g": (3, 1280), "clip_l": (3, 768)}, "embedding", "sdxl", ""),
        ({"first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3)}, "vae", "", ""),
        ({"decoder.layers.0.weight": (8, 4, 3, 3)}, "tiny vae", "", ""),
        ({"text_model.embeddings.token_embedding.weight": (9, 768)}, "text encoder", "", ""),
        ({"a.attn2.to_k.weight": (8, 1024), "conv_in.weight": (8, 9, 3, 3)}, "unet", "sd2", "inpainting"),
        ({"x_embedder.weight": (8, 4), "joint_blocks.0.x": (8,)}, "unet", "sd3", ""),
        ({"control_model.a.attn2.to_k.weight": (8, 768)}, "controlnet", "", ""),
        ({"something.else": (5,)}, "unknown", "", ""),
    ],
)
def test_kinds(names: dict[str, tuple[int, ...]], kind: str, family: str, variant: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "x.safetensors")

    found = survey.survey(tmp_path / "x.safetensors")

    assert (found.kind, found.family, found.variant) == (kind, family, variant)
    assert bool(found.problem) == (kind not in ("lora", "embedding"))


def test_files_are_remembered_until_they_change(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = survey.surveys([model])
    with monkeypatch.context() as patch:
        patch.setattr(survey, "survey", lambda path: pytest.fail("read again"))
        assert survey.surveys([model]) == first

    other = tmp_path / "n.safetensors"
    save_file({"emb_params": torch.zeros(3, 768)}, other)
    assert [one.kind for one in survey.surveys([model, other])] == ["checkpoint", "embedding"]
    save_file({"emb_params": torch.zeros(4, 768)}, other)
    assert survey.surveys([other])[0].dtypes == {"F32": 4 * 768}


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "files": {}}', "[" * 100_000, '{"version": 0}'])
def test_a_damaged_cache_costs_nothing(content: str, model: Path) -> None:
    store = survey.cache_file().with_name("surveys.json")
    store.parent.mkdir(parents=True)
    store.write_text(content)

    assert survey.surveys([model])[0].family == "sd1"
    assert json.loads(store.read_text())["files"]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        survey.surveys([tmp_path / "nothing"])


def test_no_torch_is_needed() -> None:
    import subprocess

    program = "import sys, sfumato.weights.survey; print({'torch', 'gguf', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60)

    assert (done.stdout.strip(), done.stderr) == ("set()", "")

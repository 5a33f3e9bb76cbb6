"""Models in fewer bits: the types and shapes that other programs expect, the values that the gguf package reads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.cli import quantize_main, verify
from sfumato.errors import CheckpointError, RequestError
from sfumato.quant.rules import TYPES, choose, parse_rules
from sfumato.weights.gguf_file import ORIGINAL_SHAPE, GgufSource
from sfumato.weights.header import TensorInfo

ROOT = Path(__file__).parents[3]
Q4, Q8, F16, F32 = (getattr(GGMLQuantizationType, name) for name in ("Q4_0", "Q8_0", "F16", "F32"))
LINEAR = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
CONV = "model.diffusion_model.middle_block.0.in_layers.2.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *make_networks(seed=4))


def _quantize(model, output, *flags):
    code = quantize_main(["--model_path", str(model), "--output_path", str(output), *flags])
    assert code == 0
    return output


@pytest.mark.parametrize(
    ("name", "shape", "layout", "expected"),
    [
        (LINEAR, (320, 320), "portable", (Q4, (320, 320))),
        (CONV, (320, 320, 3, 3), "portable", (F16, (320, 320, 3, 3))),
        (CONV, (320, 320, 3, 3), "compact", (Q4, (3600, 256))),
        (LINEAR, (64, 100), "portable", (F16, (64, 100))),
        (LINEAR, (64, 100), "compact", (Q4, (25, 256))),
        (LINEAR, (64, 7), "compact", (F32, (64, 7))),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", (49408, 768), "portable",
         (F16, (49408, 768))),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", (49408, 768), "compact",
         (Q4, (49408, 768))),
        ("model.diffusion_model.time_embed.0.weight", (1280, 320), "compact", (F16, (1280, 320))),
        ("model.diffusion_model.out.0.bias", (3200,), "compact", (F32, (3200,))),
    ],
)  # fmt: skip
def test_each_kind_of_tensor_has_its_type(name, shape, layout, expected):
    choice = choose(name, TensorInfo("F16", shape), Q4, layout)
    assert (choice.type, choice.shape) == expected


def test_rules_go_before_all_else():
    rules = parse_rules(["*attn1*=q8_0", "*.0.weight=f32"])
    assert choose(LINEAR, TensorInfo("F32", (320, 320)), Q4, "portable", rules).type == Q8
    with pytest.raises(RequestError, match="is not pattern=type"):
        parse_rules(["attn"])
    with pytest.raises(RequestError, match="--rules 'q9' is unknown"):
        parse_rules(["a=q9"])


@pytest.mark.parametrize(
    ("kind", "shape", "layout", "expected"),
    [
        ("q4_k", (64, 512), "portable", ("Q4_K", (64, 512))),
        ("q4_k", (320, 320), "portable", ("Q5_0", (320, 320))),
        ("q5_k", (320, 320), "portable", ("Q5_1", (320, 320))),
        ("q6_k", (320, 320), "portable", ("Q8_0", (320, 320))),
        ("q6_k", (320, 320), "compact", ("Q6_K", (400, 256))),
        ("q6_k", (64, 100), "portable", ("F16", (64, 100))),
    ],
)
def test_rows_that_fit_no_large_blocks_get_small_ones(kind, shape, layout, expected):
    choice = choose(LINEAR, TensorInfo("F16", shape), TYPES[kind], layout)
    assert (choice.type.name, choice.shape) == expected
    assert (choice.reason == "") == (choice.type == TYPES[kind])


@pytest.mark.parametrize("layout", ["portable", "compact"])
@pytest.mark.parametrize("kind", TYPES)
def test_the_file_holds_what_the_gguf_package_reads(model, tmp_path, kind, layout):
    path = _quantize(model, tmp_path / "m.gguf", "--type", kind, "--layout", layout)
    reader, exact, ours = GGUFReader(path), load_file(model), GgufSource(path)
    bound = {"q4_0": 0.12, "q4_1": 0.1, "q5_0": 0.06, "q5_1": 0.05, "q8_0": 0.01, "bf16": 0.005,
             "q4_k": 0.09, "q5_k": 0.06, "q6_k": 0.025}.get(kind, 0.001)  # fmt: skip

    assert {tensor.name for tensor in reader.tensors} == {n for n in exact if not n.endswith("position_ids")}
    for tensor in reader.tensors:
        wanted = exact[tensor.name]
        found = torch.from_numpy(dequantize(np.asarray(tensor.data), tensor.tensor_type).astype(np.float32))
        assert torch.equal(ours.get(tensor.name).float().flatten(), found.flatten())
        assert ours.get(tensor.name).shape == wanted.shape
        assert (found.flatten() - wanted.float().flatten()).norm() <= bound * wanted.float().norm() + 1e-6
        if layout == "portable":
            assert reader.get_field(ORIGINAL_SHAPE + tensor.name) is None
    architecture = reader.get_field("general.architecture")
    assert bytes(architecture.parts[-1]) == b"sd1"
    assert int(reader.get_field("general.quantization_version").parts[-1][0]) == 2


def test_every_format_of_one_model_draws_one_picture(model, tmp_path):
    tensors = load_file(model)
    torch.save({"state_dict": tensors, "global_step": 3, "callbacks": {}}, tmp_path / "m.ckpt")
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    _quantize(model, tmp_path / "m.gguf", "--type", "f32")
    folder = write_folder(tmp_path / "folder", *make_networks(seed=4))
    _quantize(folder, tmp_path / "of-folder.gguf", "--type", "f32")
    request = Txt2ImgRequest(prompt="a cat", seed=1, steps=2, width=32, height=32)

    def draw(path):
        return np.asarray(Studio(path, device="cpu", precision="full").generate(request).images[0]).astype(int)

    wanted = draw(model)
    for path in ("m.ckpt", "old.pt", "m.gguf", "of-folder.gguf", "folder"):
        assert np.abs(draw(tmp_path / path) - wanted).mean() < 1, path


def test_packed_models_draw_nearly_the_same(model, tmp_path):
    request = Txt2ImgRequest(prompt="a cat", seed=1, steps=4, width=32, height=32)

    def draw(path):
        return np.asarray(Studio(path, device="cpu", precision="full").generate(request).images[0]).astype(int)

    path = _quantize(model, tmp_path / "m.gguf", "--type", "q8_0", "--layout", "compact")
    assert np.abs(draw(path) - draw(model)).mean() < 3
    back = _quantize(path, tmp_path / "back.safetensors", "--dequantize")
    assert np.abs(draw(path) - draw(back)).mean() < 1


def test_the_table_says_what_it_cost(model, tmp_path, capsys):
    _quantize(model, tmp_path / "m.gguf", "--type", "q4_0")
    shown = capsys.readouterr()

    assert shown.out.split() == [str(tmp_path / "m.gguf")]
    assert "UNet          q4_0" in shown.err
    assert "(a convolution)" in shown.err
    assert "bits a weight" in shown.err


@pytest.fixture
def quick(monkeypatch):
    """Pictures so small that the tiny model draws them at once."""
    monkeypatch.setattr(verify, "SIDE", 16)
    monkeypatch.setattr(verify, "STEPS", 2)


def test_verify_says_how_far_pictures_are_apart(quick, model, tmp_path, capsys):
    small = _quantize(model, tmp_path / "m.gguf", "--layout", "compact", "--verify", "2")

    said = capsys.readouterr().err.splitlines()[-1]
    ratios = []
    for seed in range(2):
        request = Txt2ImgRequest(prompt=verify.PROMPTS[seed], seed=seed, steps=2, width=16, height=16)
        before, after = (np.asarray(Studio(one).generate(request).images[0]) / 255 for one in (model, small))
        ratios.append(-10 * np.log10(((before - after) ** 2).mean()))
    assert f"{np.mean(ratios):.1f} dB on average, {min(ratios):.1f} dB at the least" in said
    assert "2 pictures" in said


def test_equal_pictures_are_said_to_be_equal(quick, model, tmp_path, capsys):
    _quantize(model, tmp_path / "m.gguf", "--type", "f32", "--verify", "1")

    assert "equal on average, equal at the least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--verify", "-1"], "--verify -1 is out of range"),
        (["--type", "q3_9"], "--type 'q3_9' is unknown"),
        (["--layout", "tiny"], "choose portable or compact"),
        (["--dequantize"], "must end in .safetensors"),
    ],
)
def test_mistakes_are_told(model, tmp_path, capsys, flags, words):
    code = quantize_main(["--model_path", str(model), "--output_path", str(tmp_path / "m.gguf"), *flags])

    assert code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_or_left_half(model, tmp_path, capsys):
    (tmp_path / "m.gguf").write_text("mine")
    assert quantize_main(["--model_path", str(model), "--output_path", str(tmp_path / "m.gguf")]) == 2
    assert (tmp_path / "m.gguf").read_text() == "mine"
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-100])
    assert (
        quantize_main(["--model_path", str(tmp_path / "cut.safetensors"), "--output_path", str(tmp_path / "n.gguf")])
        == 2
    )
    assert {path.name for path in tmp_path.iterdir()} == {"m.gguf", "cut.safetensors"}


class _Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_pickle_that_runs_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": _Evil()}, "evil.ckpt")

    with pytest.raises(CheckpointError, match=r"wants to run \w+.system when it is opened"):
        Studio(Path("evil.ckpt"), device="cpu").generate(Txt2ImgRequest(prompt="x"))
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"GGUF" + b"\xff" * 40, "not a whole GGUF file"), (b"PK\x03\x04" + b"x" * 40, "not a whole PyTorch checkpoint"),
     (b"\x80\x02}q\x00.", "not a whole PyTorch checkpoint|not a PyTorch checkpoint"), (b"", "not a whole safetensors")],
)  # fmt: skip
def test_damaged_files_end_in_a_line(tmp_path, content, words):
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        Studio(tmp_path / "m.ckpt", device="cpu").generate(Txt2ImgRequest(prompt="x"))


def test_the_script_is_the_command(model, tmp_path):
    command = [sys.executable, str(ROOT / "quantize.py"), "--model-path", str(model)]
    done = subprocess.run(
        [*command, "--output_path", str(tmp_path / "m.gguf")], capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.gguf").stat().st_size < 0.6 * model.stat().st_size

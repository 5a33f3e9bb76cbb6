"""A header is read without tensors and without torch, and what is no safetensors file is refused in one line."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sfumato.errors import CheckpointError
from sfumato.weights.header import Header, TensorInfo, format_of, read_header
from sfumato.weights.source import TensorSource, open_any
from sfumato.weights.survey import any_header


@pytest.fixture
def path(tmp_path):
    tensors = {
        "a": torch.zeros(3, 4, dtype=torch.bfloat16),
        "b": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "c": torch.tensor(1),
    }
    save_file(tensors, tmp_path / "m.safetensors", {"modelspec.title": "Tiny"})
    return tmp_path / "m.safetensors"


def test_names_types_shapes_and_metadata(path):
    expected = {"a": TensorInfo("BF16", (3, 4)), "b": TensorInfo("F8_E4M3", (2,)), "c": TensorInfo("I64", ())}

    assert read_header(path) == Header(expected, {"modelspec.title": "Tiny"})
    assert TensorSource(path).header == read_header(path)


def test_a_file_without_tensors_or_metadata(tmp_path):
    save_file({}, tmp_path / "m.safetensors")

    assert read_header(tmp_path / "m.safetensors") == Header({}, {})


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580, 0x10280])
def test_a_length_that_looks_like_the_start_of_a_pickle_is_none(tmp_path, length):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(2)}, path, {"pad": ""})
    shortest = int.from_bytes(path.read_bytes()[:8], "little")
    save_file({"a": torch.ones(2)}, path, {"pad": "-" * (length - shortest)})
    assert int.from_bytes(path.read_bytes()[:8], "little") == length

    assert format_of(path) == "safetensors"
    assert any_header(path).tensors == {"a": TensorInfo("F32", (2,))}
    assert torch.equal(open_any(path).get("a"), torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorchs_own_files_are_known_by_their_content(tmp_path, zipped):
    path = tmp_path / "m.safetensors"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)

    assert format_of(path) == "pytorch"
    assert any_header(path).tensors == {"a": TensorInfo("F32", (2,))}


def test_it_needs_no_torch(path):
    program = (
        "import sys; from pathlib import Path; from sfumato.weights.header import read_header; "
        "assert len(read_header(Path(sys.argv[1])).tensors) == 3; assert 'torch' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(("ending", "what"), [(".onnx", "an ONNX file"), (".ONNX", "an ONNX file")])
def test_model_files_of_other_kinds_are_named(tmp_path, ending, what):
    path = tmp_path / f"m{ending}"
    path.write_bytes(np.arange(100, dtype=np.uint8).tobytes())

    message = f"m{ending}: is {what},.* and is not read here; give this model's .safetensors file"
    with pytest.raises(CheckpointError, match=message) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"words\x00words", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused_with_its_size(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=rf"not a whole safetensors file \({len(content)} bytes") as caught:
        read_header(tmp_path / "m.safetensors")
    assert "\n" not in str(caught.value)


def test_a_header_that_says_it_is_too_large(tmp_path):
    (tmp_path / "m.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}" * 100)

    with pytest.raises(CheckpointError, match="header too large"):
        read_header(tmp_path / "m.safetensors")


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=r"there is no such file|is a folder and not a file"):
            read_header(path)

"""Tensors are read by name from mapped files, and a file that is not one is refused in one line."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sfumato.errors import CheckpointError
from sfumato.weights import pickled
from sfumato.weights.header import TensorInfo
from sfumato.weights.source import TensorSource, _open, open_part


@pytest.fixture
def tensors():
    return {
        "a.weight": torch.arange(12.0).reshape(3, 4),
        "a.bias": torch.ones(3, dtype=torch.float16),
        "ids": torch.arange(77)[None],
        "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    }


@pytest.fixture
def path(tmp_path, tensors):
    save_file(tensors, tmp_path / "m.safetensors", {"modelspec.title": "Tiny"})
    return tmp_path / "m.safetensors"


def test_header_says_types_shapes_and_metadata(path):
    header = TensorSource(path).header

    assert header.metadata == {"modelspec.title": "Tiny"}
    assert header.tensors == {
        "a.weight": TensorInfo("F32", (3, 4)),
        "a.bias": TensorInfo("F16", (3,)),
        "ids": TensorInfo("I64", (1, 77)),
        "b": TensorInfo("BF16", (2,)),
    }


def test_tensors_come_back_in_the_files_type(path, tensors):
    source = TensorSource(path)

    assert set(source) == set(tensors)
    for name, tensor in tensors.items():
        torch.testing.assert_close(source.get(name), tensor, rtol=0, atol=0)


def test_tensors_are_mapped_and_not_copied(path):
    source = TensorSource(path)

    assert source.get("a.weight").data_ptr() == source.get("a.weight").data_ptr()
    spans = {name: source.get(name).data_ptr() - source.get("b").data_ptr() for name in source}
    assert max(map(abs, spans.values())) < path.stat().st_size


def test_writing_to_a_tensor_leaves_the_file_alone(path, tensors):
    before = path.read_bytes()

    TensorSource(path).get("a.weight").add_(1)

    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 0.5, 0.99])
def test_a_truncated_file_is_refused_with_its_size(path, keep):
    data = path.read_bytes()
    count = keep if isinstance(keep, int) else int(len(data) * keep)
    path.write_bytes(data[:count])

    message = rf"m\.safetensors: not a whole safetensors file \({count} bytes"
    with pytest.raises(CheckpointError, match=message) as caught:
        TensorSource(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"<html>Not found</html>\n" * 30, b"version https://git-lfs.github.com/v1\n", b"{}"])
def test_a_text_file_with_the_ending_is_refused(tmp_path, text):
    path = tmp_path / "page.safetensors"
    path.write_bytes(text)

    message = re.escape(f"text and not a safetensors file (it begins {text[:24].decode()!r}); download it again")
    with pytest.raises(CheckpointError, match=message) as caught:
        TensorSource(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=re.escape(str(path)) + ": (there is no such file|is a folder)"):
            TensorSource(path)


def test_several_files_are_one_source(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "1.safetensors")
    save_file({"y": torch.ones(3)}, tmp_path / "2.safetensors")

    source = TensorSource(tmp_path / "1.safetensors", tmp_path / "2.safetensors")

    assert set(source) == {"x", "y"}
    assert source.get("y").tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.fp16.safetensors"]
)
def test_a_part_of_a_folder_is_found_under_each_of_its_names(tmp_path, name):
    save_file({"x": torch.zeros(2)}, tmp_path / name)

    assert set(open_part(tmp_path)) == {"x"}


def _write_shards(folder, home):
    for shard in set(home.values()):
        names = [name for name, file in home.items() if file == shard]
        save_file({name: torch.full((2,), float(len(name))) for name in names}, folder / shard)
    index = {"metadata": {"total_size": 0}, "weight_map": home}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_that_an_index_names(tmp_path):
    first, second = "d-00001-of-00002.safetensors", "d-00002-of-00002.safetensors"
    home = {"x": first, "yy": second, "z": first}
    _write_shards(tmp_path, home)

    source = open_part(tmp_path)

    assert {name: source.get(name).tolist() for name in source} == {"x": [1, 1], "yy": [2, 2], "z": [1, 1]}


def test_a_shard_that_is_missing_is_named(tmp_path):
    _write_shards(tmp_path, {"x": "d-1.safetensors", "y": "d-2.safetensors"})
    (tmp_path / "d-2.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"d-2\.safetensors: there is no such file"):
        open_part(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"x": 5}}'])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)

    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json: can't be read"):
        open_part(tmp_path)


def test_an_index_can_not_lead_out_of_its_folder(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "outside.safetensors")
    (tmp_path / "unet").mkdir()
    index = {"weight_map": {"x": "../outside.safetensors"}}
    (tmp_path / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CheckpointError, match="there is no such file"):
        open_part(tmp_path / "unet")


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path):
    with pytest.raises(CheckpointError, match=r"no diffusion_pytorch_model\.safetensors or model\.safetensors"):
        open_part(tmp_path)


def test_a_large_file_is_handed_out_of_several_mappings(tmp_path, monkeypatch):
    monkeypatch.setattr("sfumato.weights.source.WINDOW", 2**20)
    sizes = [2**18, 2**18, 2**18, 2**20, 2**18]  # of which a window takes two, and the largest is one by itself
    tensors = {f"t{k}": torch.full((size,), float(k), dtype=torch.float16) for k, size in enumerate(sizes)}
    save_file(tensors, tmp_path / "many.safetensors")
    opened = []
    monkeypatch.setattr("sfumato.weights.source._open", lambda path: opened.append(path) or _open(path))
    source = TensorSource(tmp_path / "many.safetensors")

    kept, mappings = [], []
    for name in tensors:
        kept.append(source.get(name))
        mappings.append(len(opened))

    assert mappings == [1, 1, 2, 3, 4]
    for tensor, expected in zip(kept, tensors.values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0)


def test_a_folders_weights_are_those_of_its_shards(tmp_path):
    folder = tmp_path / "unet"
    folder.mkdir()
    _write_shards(folder, {"x": "d-1.safetensors", "y": "d-2.safetensors"})

    assert set(open_part(folder)) == {"x", "y"}


def test_names_are_all_there_and_an_unknown_one_is_an_error(path, tensors):
    source = TensorSource(path)

    assert set(source.names()) == set(tensors)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: absent: there is no such tensor"):
        source.get("absent")


def test_tensors_outlive_their_source(path, tensors):
    source = TensorSource(path)
    kept = source.get("a.weight")
    source.close()

    torch.testing.assert_close(kept, tensors["a.weight"], rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="the file is closed"):
        source.get("a.bias")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoints_tensors_are_mapped_one_by_one_and_keep_their_layout(zipped: bool, tmp_path: Path) -> None:
    base = torch.arange(240.0).reshape(4, 3, 4, 5)
    tensors = {
        "whole": base,
        "turned": base[0, 0].t(),
        "last": base.contiguous(memory_format=torch.channels_last),
        "part": base[2, 1:],
        "half": base.bfloat16(),
        "one": torch.tensor(7),
        "none": torch.empty(0, 3),
    }
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=zipped)
    source = pickled.PickledSource(path)

    read = {name: source.get(name) for name in tensors}

    torch.testing.assert_close(read, tensors, rtol=0, atol=0, check_stride=True)
    if zipped and (maps := Path("/proc/self/maps")).exists():
        assert str(path) in maps.read_text()
        read["whole"].data = torch.zeros(1)
        del read
        assert str(path) not in maps.read_text()

"""Models are found by name in the folders, by path anywhere, and built-in ones first."""

import re

import pytest

from sfumato.errors import CheckpointError
from sfumato.families import models_folder
from sfumato.families.models_folder import find, list_embeddings, list_loras, list_models


@pytest.fixture(autouse=True)
def built_in(tmp_path, monkeypatch):
    folder = tmp_path / "builtin"
    _folder(folder / "stable-universe")
    monkeypatch.setattr(models_folder, "BUILT_IN", folder)
    return folder


def _file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def _folder(path):
    _file(path / "model_index.json")
    _file(path / "unet" / "diffusion_pytorch_model.safetensors")
    return path


def test_files_and_folders_are_listed_by_name_the_built_in_first(tmp_path, built_in):
    models = tmp_path / "models"
    file, deep = _file(models / "b.safetensors"), _file(models / "sub" / "c.v2.safetensors")
    folder = _folder(models / "a")
    _file(models / "README.md")
    _file(models / "notes" / "x.txt")

    assert list_models([models]) == {
        "stable-universe": built_in / "stable-universe",
        "a": folder,
        "b": file,
        "c.v2": deep,
    }
    assert next(iter(list_models([models]))) == "stable-universe"


@pytest.mark.parametrize("home", ["loras", "Lora", "LyCORIS", "embeddings", "VAE", "sd1/loras", "sd1/embeddings/x"])
def test_what_lies_with_loras_embeddings_and_such_is_no_model(tmp_path, home):
    _file(tmp_path / home / "a.safetensors")
    _file(tmp_path / "lora.safetensors")

    assert list(list_models([tmp_path])) == ["stable-universe", "lora"]


def test_loras_and_embeddings_are_found_in_their_folders_at_any_depth(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    near, deep = _file(one / "Lora" / "near.safetensors"), _file(one / "loras" / "a" / "b" / "deep.safetensors")
    nested = _file(one / "sd1" / "loras" / "nested.safetensors")
    word, other = _file(one / "embeddings" / "w.safetensors"), _file(two / "embeddings" / "o.safetensors")
    for name in ("sd1/loras/near", "loras/embeddings/w", "no", "VAE/loras/v"):
        _file(one / f"{name}.safetensors")
    _file(two / "loras" / "near.safetensors")
    _file(one / "loras" / "pickle.pt")
    (one / "loras" / "gone.safetensors").symlink_to(tmp_path / "nothing")
    _folder(one / "model")
    _file(one / "model" / "loras" / "m.safetensors")

    assert list_embeddings([one, two]) == {"w": word, "o": other}
    found = list_loras([one, two])
    assert found == {"near": near, "deep": deep, "nested": nested, "w": one / "loras" / "embeddings" / "w.safetensors"}


def test_loras_may_lie_elsewhere_behind_a_link(tmp_path):
    _file(tmp_path / "webui" / "a.safetensors")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "loras").symlink_to(tmp_path / "webui")

    assert list(list_loras([tmp_path / "models"])) == ["a"]


def test_the_parts_of_a_folder_are_no_models(tmp_path):
    _folder(tmp_path / "models" / "a")

    assert list(list_models([tmp_path / "models"])) == ["stable-universe", "a"]


def test_a_name_of_the_first_folder_wins(tmp_path):
    first, second = (_file(tmp_path / name / "m.safetensors") for name in ("one", "two"))

    assert find("m", [first.parent, second.parent]) == first
    assert find("m", [second.parent, first.parent]) == second


def test_folders_that_are_not_there_are_empty(tmp_path):
    assert list(list_models([tmp_path / "absent", tmp_path / "more"])) == ["stable-universe"]


def test_a_path_is_a_model_wherever_it_lies(tmp_path):
    file, folder = _file(tmp_path / "else" / "m.safetensors"), _folder(tmp_path / "else" / "f")

    assert find(file, []) == file
    assert find(str(folder), [tmp_path / "models"]) == folder


def test_the_built_in_model_needs_no_folder(built_in):
    assert find("stable-universe", []) == built_in / "stable-universe"


def test_a_missing_model_names_the_nearest_and_the_folders(tmp_path):
    _file(tmp_path / "dreamlike.safetensors")

    with pytest.raises(CheckpointError, match=re.escape(f"name in {tmp_path}; nearest: 'dreamlike'")) as caught:
        find("dreamlik", [tmp_path])
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="there are: stable-universe, dreamlike"):
        find("zzz", [tmp_path])


@pytest.mark.parametrize("name", ["", "x" * 5000, "~nobody-of-this-name/m", "a\0b"])
def test_what_can_be_no_path_is_a_missing_model(tmp_path, name):
    with pytest.raises(CheckpointError, match="is not there: neither a file nor a name in"):
        find(name, [tmp_path])


@pytest.mark.parametrize("ending", [".safetensors", ".ckpt", ".gguf", ".CKPT"])
def test_model_files_of_every_kind_are_listed(tmp_path, ending):
    (tmp_path / f"mine{ending}").touch()
    (tmp_path / "mine.txt").touch()

    assert list_models([tmp_path])["mine"] == tmp_path / f"mine{ending}"

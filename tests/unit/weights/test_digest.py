"""The hash in picture metadata: SHA-256's first ten digits, remembered, and never in the way."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sfumato.weights import digest
from sfumato.weights.digest import cache_file, known_hash, model_hash, network_hash


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "m.safetensors"
    file.write_bytes(bytes(range(256)) * 20_000)
    return file


@pytest.fixture
def reads(monkeypatch):
    """Which hashes were computed from a file's bytes."""
    seen = []
    compute = digest._file_digest

    def counted(file):
        seen.append(file.name)
        return compute(file)

    monkeypatch.setattr(digest, "_file_digest", counted)
    return seen


def test_a_file_has_sha_256s_first_ten_digits(path):
    assert model_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:10]


def test_a_hash_is_computed_once(path, reads):
    first = model_hash(path)

    assert model_hash(path) == first
    assert len(reads) == 1
    assert cache_file().is_file()


def test_a_networks_hash_is_that_of_its_tensors_and_computed_once(tmp_path, reads):
    vectors = {"a": np.arange(5.0)}
    for name, about in (("one", None), ("other", {"ss_steps": "5"})):
        save_file(vectors, tmp_path / f"{name}.safetensors", about)
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"

    assert network_hash(one) == network_hash(other) == hashlib.sha256(vectors["a"].tobytes()).hexdigest()[:12]
    assert network_hash(one) == network_hash(one)
    assert len(reads) == 2
    assert model_hash(one) == hashlib.sha256(one.read_bytes()).hexdigest()[:10]


def test_a_file_that_changed_is_read_again(path, reads):
    first = model_hash(path)
    path.write_bytes(b"other")
    second = model_hash(path)
    path.write_bytes(b"again")
    os.utime(path, (1, 1))
    third = model_hash(path)

    assert len({first, second, third}) == 3
    assert len(reads) == 3


def test_a_damaged_cache_is_written_anew(path, reads):
    expected = model_hash(path)
    for text in ("", "{", "[]", "null", '{"x": 1}'):
        cache_file().write_text(text)
        assert model_hash(path) == expected
    reads.clear()

    assert model_hash(path) == expected
    assert reads == []


def test_a_cache_that_can_not_be_written_does_no_harm(path, cache, reads):
    cache.write_text("a file where the folder should be")

    assert model_hash(path) == model_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    assert len(reads) == 2
    assert cache.read_text() == "a file where the folder should be"


def test_nothing_is_left_beside_the_cache(path):
    model_hash(path)

    assert [file.name for file in cache_file().parent.iterdir()] == ["hashes.json"]


def test_a_folders_hash_depends_on_its_weights_names_and_contents_alone(tmp_path):
    def made(name, **files):
        for file, text in files.items():
            part = tmp_path / name / file / "model.safetensors"
            part.parent.mkdir(parents=True)
            part.write_text(text)
        return model_hash(tmp_path / name)

    first = made("first", unet="u", vae="v")
    (tmp_path / "first" / "README.md").write_text("words")

    assert len(first) == 10
    assert int(first, 16) >= 0
    assert model_hash(tmp_path / "first") == first
    assert made("same", vae="v", unet="u") == first
    assert len({first, made("content", unet="u", vae="w"), made("swapped", unet="v", vae="u")}) == 3


def test_a_hash_is_known_when_all_of_its_files_were_read_before(path, tmp_path):
    folder = tmp_path / "folder"
    for name in ("unet", "vae"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_text(name)
    assert known_hash(path) is known_hash(folder) is known_hash(tmp_path / "cache") is None

    made = model_hash(path), model_hash(folder)

    assert (known_hash(path), known_hash(folder)) == made
    (folder / "vae" / "other.safetensors").write_text("more")
    assert known_hash(folder) is None


@pytest.mark.parametrize(("platform", "part"), [("win32", "sfumato"), ("darwin", "Library"), ("linux", "sfumato")])
def test_the_cache_lies_where_the_platform_has_it(platform, part, monkeypatch, cache):
    monkeypatch.setattr(sys, "platform", platform)

    assert cache_file().is_relative_to(cache)
    assert part in cache_file().parts

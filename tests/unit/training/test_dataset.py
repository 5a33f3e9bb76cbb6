"""Folders of pictures in every layout, and in none."""

import json

import pytest
from PIL import Image

from sfumato.errors import RequestError
from sfumato.training.dataset import discover
from sfumato.training.settings import DataSettings


def _picture(path, size=(32, 32), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def _found(folder, **options):
    return discover(DataSettings(data_dir=folder, **options))


def _captions(folder, **options):
    return [item.caption for item in _found(folder, **options).items]


def test_a_plain_folder_is_called_by_its_files_names(tmp_path):
    for name in ("red_apple-01.png", "sub/a cat (2).jpg", "007.webp", ".hidden/x.png"):
        _picture(tmp_path / name)

    assert _captions(tmp_path) == ["007", "red apple", "a cat"]
    assert "no captions were found" in _found(tmp_path).notes[0]
    assert _captions(tmp_path, caption="a thing") == ["a thing"] * 3


def test_sidecars_go_before_a_caption_for_all(tmp_path):
    for name in "abc":
        _picture(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("words of a\nsecond line\n")
    (tmp_path / "b.caption").write_text("\ufeffwords of b", encoding="utf-8")
    (tmp_path / "c.txt").write_text("  \n")

    assert _captions(tmp_path, caption="others") == ["words of a", "words of b", "others"]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_files_name_pictures_and_words(tmp_path, name):
    _picture(tmp_path / "in" / "x.png")
    _picture(tmp_path / "unlisted.png")
    rows = {"metadata.jsonl": json.dumps({"file_name": "in/x.png", "text": "a, b"}) + "\n\n"}
    rows["metadata.csv"] = 'file_name,text\nin/x.png,"a, b"\n'
    (tmp_path / name).write_text(rows[name])

    data = _found(tmp_path)
    assert (data.layout, [item.caption for item in data.items]) == (name, ["a, b"])


@pytest.mark.parametrize(
    ("row", "words"),
    [("{", "metadata.jsonl:1: is not JSON"), ('{"file_name": "x.png"}', "needs file_name and text"),
     ('{"file_name": "../x.png", "text": "a"}', "lies outside")],
)  # fmt: skip
def test_wrong_metadata_is_named_by_line(tmp_path, row, words):
    (tmp_path / "metadata.jsonl").write_text(row)

    with pytest.raises(RequestError, match=words):
        _found(tmp_path)


def test_kohyas_folders_have_repeats_and_regularization(tmp_path):
    _picture(tmp_path / "10_my cat" / "a.png")
    _picture(tmp_path / "2_dog" / "b.png")
    _picture(tmp_path / "reg" / "1_animal" / "c.png")

    data = _found(tmp_path, prior_weight=0.5)
    assert data.layout == "kohya folders"
    assert [(i.caption, i.repeats, i.weight) for i in data.items] == [
        ("my cat", 10, 1.0), ("dog", 2, 1.0), ("animal", 1, 0.5),
    ]  # fmt: skip


def test_dreambooth_has_words_for_both_sets(tmp_path):
    _picture(tmp_path / "own" / "a.png")
    _picture(tmp_path / "class" / "b.png")

    data = _found(
        tmp_path / "own", instance_prompt="sks dog", class_prompt="a dog", reg_dir=tmp_path / "class", prior_weight=2.0
    )
    assert [(i.caption, i.weight) for i in data.items] == [("sks dog", 1.0), ("a dog", 2.0)]


def test_what_cannot_be_read_is_listed_and_left_out(tmp_path):
    _picture(tmp_path / "good.png", (40, 20), "RGBA")
    (tmp_path / "text.png").write_text("no picture")
    whole = _picture(tmp_path / "cut.png", (64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    _picture(tmp_path / "tiny.png", (8, 8))

    data = _found(tmp_path)
    assert [(i.path.name, i.size, i.alpha) for i in data.items] == [("good.png", (40, 20), True)]
    assert {path.name for path, _ in data.skipped} == {"text.png", "cut.png", "tiny.png"}


def test_a_turned_photograph_has_the_size_that_it_is_shown_in(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30)).save(tmp_path / "a.jpg", exif=exif)

    assert _found(tmp_path).items[0].size == (30, 60)


def test_folders_without_a_usable_picture_are_refused(tmp_path):
    with pytest.raises(RequestError, match="there is no such folder"):
        _found(tmp_path / "none")
    with pytest.raises(RequestError, match="there is no picture in it"):
        _found(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"none of its 1 pictures can be read: a.png"):
        _found(tmp_path)


def test_the_manifest_changes_with_words_and_pictures(tmp_path):
    _picture(tmp_path / "a.png")
    first = _found(tmp_path).manifest
    assert _found(tmp_path).manifest == first

    assert _found(tmp_path, caption="x").manifest != first
    _picture(tmp_path / "b.png")
    assert _found(tmp_path).manifest != first

"""The gallery: found in milliseconds, rebuilt from the files, and nothing of it lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image, PngImagePlugin

from sfumato.errors import RequestError
from sfumato.gallery import files, foreign, marks
from sfumato.gallery.album import Gallery, identify
from sfumato.gallery.index import Query
from sfumato.gallery.marks import Marks

from .test_infotext import INFO

PICTURE = Image.new("RGB", (24, 16), "red")


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    made = Gallery(tmp_path / "outputs")
    yield made
    made.close()


def _save(gallery: Gallery, **changes: object) -> Path:
    return files.save(PICTURE, replace(INFO, **changes), gallery.folder)


def _found(gallery: Gallery, **query: object) -> list[str]:
    return [entry.facts.prompt for entry in gallery.search(Query(**query)).entries]


def test_pictures_are_found_by_what_made_them(gallery: Gallery) -> None:
    _save(gallery, prompt="a red apple", model="one")
    os.utime(_save(gallery, prompt="a green pear, apples", model="Two"), (1000, 1000))

    assert gallery.scan() == 2
    assert gallery.scan() == 0
    assert _found(gallery, words="appl") == ["a red apple", "a green pear, apples"]
    assert _found(gallery, words='pear "green') == ["a green pear, apples"]
    assert _found(gallery, words="apple green red") == []
    assert _found(gallery, model="two") == ["a green pear, apples"]
    assert _found(gallery, until=2000) == ["a green pear, apples"]
    assert _found(gallery, since=2000) == ["a red apple"]
    assert _found(gallery, limit=1, offset=1) == ["a green pear, apples"]
    assert gallery.search(Query(limit=1)).total == 2
    assert gallery.models() == {"one": 1, "Two": 1}


def test_marks_outlive_the_index(gallery: Gallery) -> None:
    path = _save(gallery)
    gallery.scan()
    before = path.read_bytes()
    id = gallery.search(Query()).entries[0].id
    gallery.mark(id, rating=4, favourite=True, tags=("sea & <sky>", "best"))
    gallery.close()
    (gallery.folder / ".sfumato" / "index.sqlite").write_bytes(b"no database at all" * 100)

    again = Gallery(gallery.folder)
    assert again.scan() == 1
    assert again.get(id).marks == Marks(rating=4, favourite=True, tags=("best", "sea & <sky>"))
    assert [entry.id for entry in again.search(Query(rating=4, favourite=True, tag="best")).entries] == [id]
    assert again.search(Query(tag="bes")).total == 0
    assert again.search(Query(rating=5)).total == 0
    assert path.read_bytes() == before
    again.mark(id, rating=0, favourite=False, tags=())
    assert not marks.sidecar(path).exists()
    assert again.rebuild() == 1
    again.close()


def test_a_sidecar_of_another_program_is_read(gallery: Gallery) -> None:
    path = _save(gallery)
    marks.sidecar(path).write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/"><xmp:Rating>3</xmp:Rating></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )
    assert marks.read(path) == Marks(rating=3)
    marks.sidecar(path).write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    assert marks.read(path) == Marks()
    marks.write(path, Marks(rating=2, tags=("x",)))
    assert ElementTree.parse(marks.sidecar(path)).getroot().tag.endswith("xmpmeta")


@pytest.mark.parametrize("change", [{"rating": 6}, {"rating": -1}, {"tags": ("",)}, {"tags": ("a\nb",)}])
def test_wrong_marks_are_refused(gallery: Gallery, change: dict[str, object]) -> None:
    _save(gallery)
    gallery.scan()
    with pytest.raises(RequestError):
        gallery.mark(gallery.search(Query()).entries[0].id, **change)


def test_trash_gives_back_picture_and_marks(gallery: Gallery) -> None:
    path = _save(gallery)
    gallery.scan()
    id = gallery.search(Query()).entries[0].id
    gallery.mark(id, rating=5)
    data = path.read_bytes()
    trashed = gallery.trash(id)
    assert gallery.scan() == 0
    assert gallery.search(Query()).total == 0
    assert not path.exists()
    assert gallery.trashed() == (trashed,)
    PICTURE.save(path)

    back = gallery.restore(trashed.id)
    assert back.path != trashed.path
    assert (gallery.folder / back.path).read_bytes() == data
    assert back.marks.rating == 5
    gone = gallery.trash(back.id)
    gallery.delete(gone.id)
    assert gallery.trashed() == ()
    with pytest.raises(RequestError, match="no picture"):
        gallery.restore(gone.id)


@pytest.mark.parametrize("id", ["../../etc/passwd", "", "0" * 32, "%2e%2e"])
def test_no_id_leaves_the_folder(gallery: Gallery, id: str) -> None:
    for call in (gallery.get, gallery.file, gallery.thumbnail, gallery.trash, gallery.restore, gallery.delete):
        with pytest.raises(RequestError):
            call(id)


def test_links_that_leave_the_folder_are_not_followed(gallery: Gallery, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "secret.png")
    (gallery.folder / "day").mkdir()
    (gallery.folder / "day" / "x.png").symlink_to(tmp_path / "secret.png")
    (gallery.folder / "out").symlink_to(tmp_path)

    assert gallery.scan() == 0
    with pytest.raises(RequestError, match="not in the gallery"):
        gallery.add(gallery.folder / "day" / "x.png")


def test_thumbnails_are_small_and_follow_the_file(gallery: Gallery) -> None:
    path = gallery.folder / "big.jpg"
    Image.new("RGB", (600, 300), "blue").save(path)
    gallery.scan()
    id = identify("big.jpg")
    first = gallery.thumbnail(id)
    (tmp := gallery.folder / "t.webp").write_bytes(first)
    with Image.open(tmp) as small:
        assert small.size == (256, 128)
    Image.new("RGB", (600, 300), "green").save(path)
    assert gallery.thumbnail(id) != first


def test_a_file_that_is_no_picture_harms_nothing(gallery: Gallery) -> None:
    (gallery.folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert gallery.scan() == 1
    with pytest.raises(RequestError, match="can't be read"):
        gallery.thumbnail(identify("broken.png"))


COMFY = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler",
          "scheduler": "normal", "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["4", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "x", "model": ["4", 0]}},
}  # fmt: skip
INVOKE = {
    "positive_prompt": "a fox", "negative_prompt": "blur", "seed": 9, "steps": 30, "cfg_scale": 7.5,
    "scheduler": "euler", "model": {"name": "sd-1.5"},
}  # fmt: skip
INVOKE_2 = {"model_weights": "old", "image": {"prompt": [{"prompt": "a hen [red]"}], "seed": 1, "sampler": "k_lms"}}


@pytest.mark.parametrize(
    ("key", "tree", "expected"),
    [
        ("prompt", COMFY, ("a bottle", "watermark", "v1-5", "euler normal", 5, "comfyui")),
        ("invokeai_metadata", INVOKE, ("a fox", "blur", "sd-1.5", "euler", 9, "invokeai")),
        ("sd-metadata", INVOKE_2, ("a hen", "red", "old", "k_lms", 1, "invokeai")),
    ],
)
def test_pictures_of_other_programs_drop_in(gallery: Gallery, key: str, tree: object, expected: tuple) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(key, json.dumps(tree))
    PICTURE.save(gallery.folder / "dropped.png", pnginfo=chunks)
    gallery.scan()

    facts = gallery.get(identify("dropped.png")).facts
    found = (facts.prompt, facts.negative_prompt, facts.model, facts.sampler, facts.seed, facts.program)
    assert found == expected


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"a": 1}', '{"1": {"inputs": 7}}', "null", '"x"'])
@pytest.mark.parametrize("key", ["prompt", "invokeai_metadata"])
def test_odd_metadata_is_no_metadata(tmp_path: Path, key: str, text: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(key, text)
    PICTURE.save(tmp_path / "odd.png", pnginfo=chunks)

    assert foreign.read(tmp_path / "odd.png").prompt == ""


def test_ten_thousand_pictures_are_searched_in_milliseconds(gallery: Gallery) -> None:
    facts = asdict(foreign.Facts(width=8, height=8, prompt="a red apple on a table", model="m"))
    more = {"stamp": "", "bytes": 1, "rating": 0, "favourite": 0, "tags": ""}
    for number in range(10_000):
        row = {**facts, **more, "id": str(number), "path": f"{number}.png", "created": float(number)}
        gallery._index.put(row | ({"prompt": "a blue whale"} if number % 100 == 0 else {}))

    queries = [Query(words="blue"), Query(words="appl"), Query(), Query(model="m", rating=1)]
    for query, total in zip(queries, (100, 9_900, 10_000, 0), strict=True):
        best = min(_seconds(gallery, query, total) for _ in range(5))
        assert best < 0.05


def _seconds(gallery: Gallery, query: Query, total: int) -> float:
    began = time.perf_counter()
    assert gallery.search(query).total == total
    return time.perf_counter() - began


def test_all_that_fit_in_order_and_tags_with_their_number(gallery: Gallery) -> None:
    _save(gallery, prompt="x" * 300)
    os.utime(_save(gallery, prompt="a pear"), (1000, 1000))
    gallery.scan()
    long, short = gallery.order(Query(limit=1, offset=1))
    assert (long.label, short.label, short.created) == ("x" * 100, "a pear", 1000)
    assert [each.id for each in gallery.order(Query(words="pear"))] == [short.id]

    gallery.mark(short.id, tags=("green", "fruit"))
    gallery.mark(long.id, tags=("green",))
    assert list(gallery.tags().items()) == [("fruit", 1), ("green", 2)]
    assert [each.id for each in gallery.order(Query(tag="fruit"))] == [short.id]

"""Saving: formats, metadata, whole files only, and folders that do not take them."""

from __future__ import annotations

import errno
import os
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from PIL import Image

from sfumato.errors import OutputError, RequestError
from sfumato.gallery import files, infotext

from .test_infotext import INFO


@pytest.fixture
def image() -> Image.Image:
    return Image.effect_noise((48, 32), 40).convert("RGB")


@pytest.mark.parametrize("format", files.FORMATS)
@pytest.mark.parametrize("prompt", ["a red apple", "un café, 絵 😀", "x" * 5000])
def test_metadata_comes_back(tmp_path: Path, image: Image.Image, format: str, prompt: str) -> None:
    text = infotext.write(INFO).replace("a red apple", prompt)
    path = tmp_path / f"x.{format}"
    path.write_bytes(files.encode(image, format, text))

    assert files.read(path) == text


@pytest.mark.parametrize("format", files.FORMATS)
def test_no_metadata_means_none_at_all(tmp_path: Path, image: Image.Image, format: str) -> None:
    path = files.save(image, INFO, tmp_path, format=format, metadata="none")

    assert files.read(path) is None
    assert b"apple" not in path.read_bytes()
    with Image.open(path) as saved:
        assert len(saved.getexif()) == 0


def test_png_pixels_are_exact(tmp_path: Path, image: Image.Image) -> None:
    path = files.save(image, INFO, tmp_path)

    with Image.open(path) as saved:
        assert saved.tobytes() == image.tobytes()


def test_exif_is_utf16_big_endian_as_piexif_writes_it(image: Image.Image) -> None:
    assert b"UNICODE\0" + "añ".encode("utf-16-be") in files.encode(image, "jpeg", "añ")


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "a cat".encode("utf-16-le"),
        b"ASCII\0\0\0a cat",
        b"\0" * 8 + b"a cat",
        b"UNICODE\0\xfe\xff\0a\0 \0c\0a\0t",
    ],
)
def test_user_comments_of_other_programs_are_read(tmp_path: Path, image: Image.Image, comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    image.save(tmp_path / "x.jpg", exif=exif)

    assert files.read(tmp_path / "x.jpg") == "a cat"


def test_numbers_count_up_and_nothing_is_replaced(tmp_path: Path, image: Image.Image) -> None:
    paths = [files.save(image, INFO, tmp_path, "[number]-[seed]") for _ in range(3)]
    (tmp_path / "00007-x.png").touch()
    paths.append(files.save(image, INFO, tmp_path, "[number]-[seed]"))

    assert [path.name for path in paths] == ["00000-42.png", "00001-42.png", "00002-42.png", "00008-42.png"]


def test_a_taken_name_without_number_gets_one(tmp_path: Path, image: Image.Image) -> None:
    assert [files.save(image, INFO, tmp_path, "[seed]").name for _ in range(3)] == ["42.png", "42-1.png", "42-2.png"]


@pytest.mark.parametrize("links", [True, False])
def test_savers_at_the_same_time_never_share_a_name(
    tmp_path: Path, image: Image.Image, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    paths: list[Path] = []

    def work() -> None:
        paths.extend(files.save(image, INFO, tmp_path, "[number]") for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(paths)) == 20
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, image: Image.Image, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OutputError, match=r"Output folder .*--outdir"):
        files.save(image, INFO, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_writing_leaves_nothing(
    tmp_path: Path, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        files.save(image, INFO, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_metadata_too_long_for_jpeg_says_so(tmp_path: Path, image: Image.Image) -> None:
    with pytest.raises(OutputError, match="--format png"):
        files.encode(image, "jpeg", "x" * 70_000)


def test_an_unknown_format_names_the_nearest(image: Image.Image) -> None:
    with pytest.raises(RequestError, match="nearest: 'jpeg'"):
        files.encode(image, "jpegg", None)


def test_check_writable_makes_nothing(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "not" / "yet")

    assert list(tmp_path.iterdir()) == []


def test_check_writable_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="is a file; choose another with --outdir"):
        files.check_writable(tmp_path / "file" / "x")


def test_check_writable_refuses_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("sfumato.gallery.files.shutil.disk_usage", lambda _: usage(10, 10, 0))

    with pytest.raises(OutputError, match=r"is full: 0\.0 MB free"):
        files.check_writable(tmp_path)


def test_check_writable_refuses_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("sfumato.gallery.files.tempfile.TemporaryFile", refuse)

    with pytest.raises(OutputError, match="read-only file system"):
        files.check_writable(tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1\0\x08Exif"])
def test_reading_what_is_no_picture_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.png").write_bytes(data)

    with pytest.raises(RequestError, match=r"x\.png is (not a picture|damaged)"):
        files.read(tmp_path / "x.png")


def test_reading_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"x\.png cannot be read: No such file"):
        files.read(tmp_path / "x.png")


def test_the_grid_places_pictures_row_by_row() -> None:
    sheet = files.grid([Image.new("RGB", (2, 2), color) for color in ("red", "green", "blue")])

    assert sheet.size == (4, 4)
    assert sheet.getpixel((0, 2)) == (0, 0, 255)
    assert sheet.getpixel((2, 2)) == (0, 0, 0)

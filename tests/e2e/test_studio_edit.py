"""The page that edits, as a person uses it."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, fill, generate, page, served
from playwright.sync_api import Locator, Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures

NONE, SOME = "With nothing painted the whole picture is.", "Only what is painted is drawn anew."


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One server for all of these tests: its address and folder. Each test is a visitor of its own."""
    folder = tmp_path_factory.mktemp("studio")
    with served(folder) as (address, _):
        yield address, folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = Image.new("RGB", (96, 64), "navy")
    ImageDraw.Draw(image).ellipse((30, 14, 66, 50), fill="red")
    path = tmp_path / "<img src=x onerror=document.title='broken'>.png"
    image.save(path)
    return path


def _open(page: Page, address: str, picture: Path) -> Locator:
    page.goto(f"{address}/edit")
    page.locator(".drop input").set_input_files(picture)
    canvas = page.locator(".view canvas")
    expect(canvas).to_be_visible()
    expect(page.get_by_text(NONE)).to_be_visible()
    return canvas


def _paint(page: Page, canvas: Locator) -> None:
    """A stroke through the middle of the view."""
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y)
    page.mouse.down()
    page.mouse.move(x + 50, y, steps=5)
    page.mouse.up()


def _wait_for_mask(folder: Path, spots: dict[tuple[int, int], int]) -> Image.Image:
    """The newest mask that came to the server, once it has these grey levels at these places."""
    for _ in range(100):
        files = sorted(folder.rglob("pages/pictures/*.png"), key=lambda path: path.stat().st_mtime_ns)
        with Image.open(files[-1]) as image:
            mask = image.convert("L")
        if {spot: mask.getpixel(spot) for spot in spots} == spots:
            return mask
        time.sleep(0.1)
    pytest.fail(f"no mask with {spots} came")


def test_a_picture_is_drawn_anew_and_shown_over_the_old_one(
    studio: tuple[str, Path], page: Page, picture: Path
) -> None:
    address, _ = studio
    _open(page, address, picture)
    expect(page.get_by_label("Width", exact=True)).to_have_value("128")
    expect(page.get_by_label("Height", exact=True)).to_have_value("64")
    fill(page, "a red apple", 3)
    generate(page)
    after = page.locator(".compare img.after")
    expect(after).to_have_js_property("naturalWidth", 64, timeout=120_000)
    expect(page.locator(".compare img.before")).to_have_js_property("naturalWidth", 96)
    line = page.get_by_role("slider", name="How much of the picture before")
    line.focus()
    page.keyboard.press("End")
    expect(line).to_have_value("100")
    page.get_by_role("button", name="Work on this").click()
    expect(page.get_by_label("Width", exact=True)).to_have_value("64")
    page.reload()
    expect(page.locator(".compare img.after")).to_be_visible()
    assert page.title() == "Edit · Sfumato"


def test_what_a_picture_will_take_is_told_before_it_is_drawn(
    studio: tuple[str, Path], page: Page, picture: Path
) -> None:
    _open(page, studio[0], picture)
    line = page.get_by_role("status").filter(has_text="GB free")
    fill(page, "a red apple", 3)
    expect(line).to_have_text(re.compile(r"^0\.\d GB of [\d.]+ GB free"))
    page.get_by_label("Pictures", exact=True).fill("64")
    for side in ("Width", "Height"):
        page.get_by_label(side, exact=True).fill("4096")
        page.get_by_label(side, exact=True).blur()
    expect(line).to_have_text(re.compile(r"^Will not fit: \d+\.\d GB of"))
    expect(line).to_have_class(re.compile("error"))
    page.get_by_role("button", name=re.compile("^Take .* at once$")).click()
    expect(line).not_to_have_class(re.compile("error"))
    assert int(page.get_by_label("Pictures", exact=True).input_value()) < 64


def test_strokes_become_a_mask_of_the_pictures_own_size(studio: tuple[str, Path], page: Page, picture: Path) -> None:
    address, folder = studio
    canvas = _open(page, address, picture)
    _paint(page, canvas)
    expect(page.get_by_text(SOME)).to_be_visible()
    assert _wait_for_mask(folder, {(48, 32): 255, (2, 2): 0}).size == (96, 64)
    page.keyboard.press("Control+z")
    expect(page.get_by_text(NONE)).to_be_visible()
    page.keyboard.press("Control+y")
    expect(page.get_by_text(SOME)).to_be_visible()
    page.get_by_role("button", name="Invert").click()
    _wait_for_mask(folder, {(48, 32): 0, (2, 2): 255})
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text(NONE)).to_be_visible()


def test_the_mask_is_painted_with_the_keyboard_alone(studio: tuple[str, Path], page: Page, picture: Path) -> None:
    address, _ = studio
    _open(page, address, picture)
    page.get_by_role("application").focus()
    page.keyboard.press("]")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_text(SOME)).to_be_visible()
    page.reload()
    expect(page.get_by_text(SOME)).to_be_visible()


def test_what_is_no_picture_is_told_where_it_was_dropped(studio: tuple[str, Path], tmp_path: Path, page: Page) -> None:
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"<script>alert(1)</script>")
    address, _ = studio
    page.goto(f"{address}/edit")
    page.locator(".drop input").set_input_files(wrong)
    expect(page.get_by_text("Invalid encoded image")).to_be_visible()
    generate(page)
    expect(page.get_by_text("There is no picture to work from")).to_be_visible()


def test_a_picture_that_was_created_goes_to_be_edited(studio: tuple[str, Path], page: Page) -> None:
    address, _ = studio
    page.goto(address)
    fill(page, "a red apple", 2)
    generate(page)
    page.get_by_role("button", name="Edit", exact=True).click(timeout=120_000)
    expect(page.locator(".view canvas")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red apple")
    expect(page.get_by_label("Width", exact=True)).to_have_value("64")


def _pixels(page: Page, address: str) -> Image.Image:
    """The new picture that is shown."""
    source = page.locator(".compare img.after").get_attribute("src")
    answer = page.request.get(f"{address}{source}")
    with Image.open(io.BytesIO(answer.body())) as image:
        return image.convert("RGB")


def test_only_the_painted_part_is_drawn_anew(studio: tuple[str, Path], page: Page, tmp_path: Path) -> None:
    address, _ = studio
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / "noise.png")
    canvas = _open(page, address, tmp_path / "noise.png")
    _paint(page, canvas)
    expect(page.get_by_text(SOME)).to_be_visible()
    fill(page, "a red apple", 3)
    page.get_by_text("The painted part").click()
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Soft edge").blur()
    generate(page)
    expect(page.locator(".compare img.after")).to_have_js_property("naturalWidth", 64, timeout=120_000)
    after = _pixels(page, address)
    assert after.crop((0, 0, 64, 16)).tobytes() == noise.crop((0, 0, 64, 16)).tobytes()
    assert after.getpixel((32, 32)) != noise.getpixel((32, 32))


def test_the_frame_and_what_is_painted_are_drawn_at_once(studio: tuple[str, Path], page: Page, tmp_path: Path) -> None:
    address, _ = studio
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / "noise.png")
    canvas = _open(page, address, tmp_path / "noise.png")
    _paint(page, canvas)
    edge = page.get_by_role("slider", name="Extend to the right")
    edge.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuenow", "64")
    fill(page, "a red apple", 2, side=64)
    page.get_by_label("Width", exact=True).fill("128")
    page.get_by_text("The painted part").click()
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Soft edge").blur()
    generate(page)
    expect(page.locator(".compare img.after")).to_have_js_property("naturalWidth", 128, timeout=120_000)
    after = _pixels(page, address)
    assert after.crop((0, 0, 40, 16)).tobytes() == noise.crop((0, 0, 40, 16)).tobytes()
    assert after.getpixel((32, 32)) != noise.getpixel((32, 32))
    assert len(set(after.crop((80, 0, 128, 8)).getcolors(384) or [])) > 1


def test_the_frame_is_extended_with_keys_pointer_and_numbers(
    studio: tuple[str, Path], page: Page, picture: Path
) -> None:
    address, _ = studio
    _open(page, address, picture)
    edge = page.get_by_role("slider", name="Extend to the right")
    edge.focus()
    page.keyboard.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuenow", "32")
    expect(page.get_by_text(SOME)).to_be_visible()
    page.get_by_text("More around the picture").click()
    expect(page.get_by_role("spinbutton", name="Extend to the right")).to_have_value("32")
    page.get_by_role("spinbutton", name="Extend downwards").fill("64")
    expect(page.get_by_role("slider", name="Extend downwards")).to_have_attribute("aria-valuenow", "64")
    expect(page.get_by_label("Height", exact=True)).to_have_value("128")
    top = page.get_by_role("slider", name="Extend upwards")
    top.hover()  # waits until the picture lies still
    box = top.bounding_box()
    assert box is not None
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 60, steps=4)
    page.mouse.up()
    expect(page.get_by_role("spinbutton", name="Extend upwards")).not_to_have_value("0")
    page.get_by_role("spinbutton", name="Extend upwards").fill("0")
    fill(page, "a red apple", 2, side=128)
    generate(page)
    expect(page.locator(".compare img.before")).to_have_js_property("naturalHeight", 128, timeout=120_000)

"""The gallery in a real Chromium: many pictures, tags, two side by side, the keys, and pictures from elsewhere."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, page, served
from playwright.sync_api import Page, expect

from sfumato.gallery import files
from sfumato.request import ImageInfo, Seconds

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
MARKUP = "<img src=x onerror=document.title='broken'>"
MANY = 400
INFO = ImageInfo(
    prompt="", negative_prompt="", seed=0, width=64, height=64, steps=7, sampler="Euler a", scheduler="Karras",
    cfg_scale=5.5, clip_skip=1, eta=None, model="stable-universe", model_hash="", device="cpu", dtype="float32",
    seconds=Seconds(encode=0, sample=0, decode=0),
)  # fmt: skip


def _info(seed: int, prompt: str) -> ImageInfo:
    return replace(INFO, seed=seed, prompt=prompt)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gallery")
    for k in range(MANY):
        image = Image.new("RGB", (64, 64), (k % 256, 80, 255 - k % 256))
        files.save(image, _info(k, f"picture {k} {MARKUP if k == 0 else ''}"), made / "outputs")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as (address, _):
        yield address


@pytest.fixture
def gallery(address: str, page: Page) -> Page:
    page.goto(f"{address}/gallery")
    expect(page.get_by_text(f"Pictures: {MANY}")).to_be_visible()
    expect(page.locator(".album .thumb").first).to_be_visible()
    return page


def _drop(page: Page, data: bytes) -> None:
    """A file let fall on the middle of the page."""
    page.evaluate(
        """(text) => {
          const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const carried = new DataTransfer();
          carried.items.add(new File([bytes], "one.png", { type: "image/png" }));
          const told = { dataTransfer: carried, bubbles: true, cancelable: true };
          document.querySelector("#main").dispatchEvent(new DragEvent("drop", told));
        }""",
        base64.b64encode(data).decode(),
    )


def test_only_what_is_near_the_view_is_in_the_page_and_the_end_is_reached(gallery: Page) -> None:
    assert gallery.locator(".album .cell").count() < MANY
    gallery.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    last = gallery.locator(f".album .cell[aria-posinset='{MANY}']")
    expect(last).to_be_in_viewport()
    expect(last.locator("img")).to_have_js_property("complete", True)
    gallery.wait_for_function("[...document.querySelectorAll('.album img')].every((one) => one.naturalWidth)")
    assert gallery.title() == "Gallery · Sfumato"


def test_keys_go_through_the_grid_and_from_picture_to_picture(gallery: Page) -> None:
    gallery.locator(".album .thumb").first.focus()
    first = gallery.locator(".album .thumb:focus").get_attribute("aria-label")
    gallery.keyboard.press("End")
    expect(gallery.locator(".album .thumb:focus")).to_be_in_viewport()
    assert gallery.locator(".album .thumb:focus").get_attribute("aria-label") != first
    gallery.keyboard.press("Home")
    gallery.keyboard.press("ArrowRight")
    second = gallery.locator(".album .thumb:focus").get_attribute("aria-label") or ""
    gallery.keyboard.press("Enter")
    facts = gallery.locator(".viewer .facts")
    expect(facts).to_contain_text(second.strip())
    gallery.keyboard.press("ArrowLeft")
    expect(facts).to_contain_text((first or "").strip())
    gallery.keyboard.press("ArrowLeft")
    gallery.get_by_role("button", name="The next picture").click()
    expect(facts).to_contain_text(second.strip())
    gallery.keyboard.press("Escape")
    expect(gallery.locator(".viewer")).to_be_hidden()


def test_tags_are_given_taken_and_searched_by(gallery: Page, folder: Path) -> None:
    gallery.get_by_label("Search words").fill("onerror")
    expect(gallery.locator(".album .thumb")).to_have_count(1)
    gallery.locator(".album .thumb").click()
    gallery.get_by_label("Add tags", exact=True).fill(f"{MARKUP}, blue")
    gallery.get_by_label("Add tags", exact=True).press("Enter")
    expect(gallery.get_by_role("button", name=f"Remove the tag {MARKUP}")).to_be_visible()
    gallery.get_by_role("button", name="Close").click()
    gallery.get_by_label("Search words").fill("")
    gallery.get_by_label("Tag", exact=True).click()
    gallery.get_by_role("option", name="blue (1)").click()
    expect(gallery.get_by_text("Pictures: 1", exact=True)).to_be_visible()
    expect(gallery.locator(".album .thumb")).to_have_count(1)
    gallery.locator(".album .thumb").click()
    gallery.get_by_role("button", name="Remove the tag blue").click()
    expect(gallery.get_by_text("No pictures.")).to_be_attached()
    assert MARKUP.replace("<", "&lt;").replace(">", "&gt;") in next(folder.rglob("*.xmp")).read_text()
    assert gallery.title() == "Gallery · Sfumato"


def test_two_are_compared_and_several_are_tagged(gallery: Page) -> None:
    gallery.locator(".album .thumb").nth(0).focus()
    gallery.keyboard.press("x")
    expect(gallery.get_by_role("button", name="Compare")).to_be_disabled()
    gallery.locator(".album input").nth(1).check()
    expect(gallery.get_by_text("Chosen: 2")).to_be_visible()
    gallery.get_by_role("button", name="Compare").click()
    expect(gallery.get_by_role("row", name=re.compile("^Seed"))).to_be_visible()
    expect(gallery.get_by_role("row", name=re.compile("^Steps"))).to_have_count(0)
    assert gallery.locator(".two img").count() == 2
    gallery.get_by_role("button", name="Close").click()
    gallery.get_by_label("Add tags to all").fill("pair")
    gallery.get_by_label("Add tags to all").press("Enter")
    expect(gallery.get_by_text("Chosen: 2")).to_be_hidden()
    gallery.get_by_label("Tag", exact=True).click()
    gallery.get_by_role("option", name="pair (2)").click()
    expect(gallery.locator(".album .thumb")).to_have_count(2)


def test_a_picture_that_is_dropped_gives_its_settings(gallery: Page, address: str) -> None:
    data = files.describe(Image.new("RGB", (64, 64)), _info(4242, f"a stranger {MARKUP}"))
    _drop(gallery, data)
    expect(gallery.get_by_text(f"a stranger {MARKUP}")).to_be_visible()
    gallery.get_by_role("button", name="Use these settings").click()
    expect(gallery.get_by_label("Prompt", exact=True)).to_have_value(f"a stranger {MARKUP}")
    expect(gallery.get_by_label("Seed", exact=True)).to_have_value("4242")

    _drop(gallery, files.describe(Image.new("RGB", (64, 64)), _info(7, "another")))
    gallery.get_by_role("button", name="Use these settings").last.click()
    expect(gallery.get_by_label("Prompt", exact=True)).to_have_value("another")
    _drop(gallery, b"no picture")
    expect(gallery.get_by_text("Invalid encoded image")).to_be_visible()
    assert gallery.title() == "Create · Sfumato"


def test_one_that_is_gone_from_the_trash_does_not_keep_the_others_there(gallery: Page, folder: Path) -> None:
    for nth in (0, 1):
        gallery.locator(".album input").nth(nth).check()
    gallery.get_by_role("button", name="Move to trash").click()
    expect(gallery.get_by_text(f"Pictures: {MANY - 2}", exact=True)).to_be_visible()
    trash = folder / "outputs" / ".sfumato" / "trash"
    min(trash.rglob("*.png"), key=lambda path: path.stat().st_ctime_ns).unlink()
    gallery.get_by_role("button", name="Take back").click()

    expect(gallery.get_by_text(f"Pictures: {MANY - 1}", exact=True)).to_be_visible()
    assert not list(trash.rglob("*.png"))

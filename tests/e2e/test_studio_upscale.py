"""The page that makes pictures larger, as a person uses it; and what else can be done with one that was made."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, fill, generate, page, served
from playwright.sync_api import Page, expect
from upscalers import write_plain

from sfumato.gallery import files

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
MARKUP = "<img src=x onerror=document.title='broken'>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("studio")
    write_plain(made / "models" / "upscalers", MARKUP)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The server's, in a folder with an upscaling network."""
    with served(folder) as (address, _):
        yield address


def _picture(folder: Path, prompt: str) -> Path:
    path = folder / f"{MARKUP}.png"
    text = f"{prompt}\nSteps: 3, Sampler: Euler, Seed: 9"
    path.write_bytes(files.encode(Image.new("RGB", (48, 32), "navy"), "png", text))
    return path


def _enlarge(page: Page) -> None:
    page.locator(".go").click()


def test_a_picture_goes_from_its_page_to_be_made_larger_by_a_network(address: str, page: Page) -> None:
    page.goto(address)
    fill(page, "a red apple", 2)
    generate(page)
    page.get_by_role("button", name="Make larger").click(timeout=120_000)
    expect(page.get_by_text("64 × 64 becomes 128 × 128 pixels")).to_be_visible()
    page.get_by_label("By", exact=True).click()
    page.get_by_role("option", name="network").click()
    _enlarge(page)
    after = page.locator(".compare img.after")
    expect(after).to_have_js_property("naturalWidth", 128, timeout=120_000)
    expect(page.locator(".compare img.before")).to_have_js_property("naturalWidth", 64)
    page.get_by_role("button", name="Work on this").click()
    expect(page.get_by_text("128 × 128 becomes 256 × 256 pixels")).to_be_visible()

    page.goto(f"{address}/queue")
    expect(page.get_by_text("Upscale: a red apple")).to_be_visible()
    page.goto(f"{address}/gallery")
    page.get_by_label("Search words").fill("apple")
    expect(page.locator(".album .thumb")).to_have_count(2)
    page.locator(".album .thumb").first.click()
    expect(page.locator(".facts")).to_contain_text(f"Postprocess upscaler: {MARKUP}")
    page.locator(".viewer").get_by_role("button", name="Make larger").click()
    expect(page.get_by_text("128 × 128 becomes")).to_be_visible()
    assert page.title() == "Upscale · Sfumato"


def test_a_picture_that_is_picked_keeps_what_it_says(address: str, page: Page, tmp_path: Path) -> None:
    page.goto(f"{address}/upscale")
    _enlarge(page)
    expect(page.get_by_text("There is no picture to work from")).to_be_visible()
    page.locator(".drop input").set_input_files(_picture(tmp_path, f"a sea {MARKUP}"))
    expect(page.get_by_text("48 × 32 becomes 96 × 64 pixels")).to_be_visible()
    page.get_by_label("Times as large").fill("20")
    expect(page.get_by_text("Times as large is 20; give more than 0, up to 16.").first).to_be_visible()
    page.get_by_label("Or this wide").fill("120")
    expect(page.get_by_text("48 × 32 becomes 120 × 80 pixels")).to_be_visible()
    page.keyboard.press("Control+Enter")
    shown = page.locator(".compare img.after")
    expect(shown).to_have_js_property("naturalWidth", 120, timeout=120_000)
    data = page.request.get(f"{address}{shown.get_attribute('src')}").body()
    assert (files.read_bytes(data) or "").startswith(f"a sea {MARKUP}\nSteps: 3, Sampler: Euler, Seed: 9, Postprocess")
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (120, 80)
    expect(page.get_by_role("button", name=f"a sea {MARKUP}")).to_be_visible()
    page.reload()
    expect(page.get_by_text("48 × 32 becomes 120 × 80 pixels")).to_be_visible()
    assert page.title() == "Upscale · Sfumato"


def test_a_picture_is_copied_and_moved_to_the_trash_and_taken_back(address: str, page: Page, folder: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(address)
    fill(page, "a snail", 2)
    generate(page)
    page.get_by_role("button", name="Copy", exact=True).click(timeout=120_000)
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.read().then((items) => items[0].types)") == ["image/png"]
    there = len(list((folder / "outputs").rglob("2*/*.png")))
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_text("Your picture will be here.")).to_be_visible()
    expect(page.locator(".strip button")).to_have_count(0)
    assert len(list((folder / "outputs").rglob("2*/*.png"))) == there
    assert list((folder / "outputs" / ".sfumato" / "trash").rglob("*.png"))
    page.get_by_role("button", name="Take back").click()
    expect(page.locator(".strip button")).to_have_count(1)
    assert not list((folder / "outputs" / ".sfumato" / "trash").rglob("*.png"))

    page.goto(f"{address}/gallery")
    page.get_by_label("Search words").fill("snail")
    expect(page.locator(".album .thumb")).to_have_count(1)
    page.locator(".album .thumb").click()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_text("No pictures.")).to_be_attached()
    page.get_by_role("button", name="Take back").click()
    expect(page.locator(".album .thumb")).to_have_count(1)

"""The page that explores, as a person uses it."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, fill, generate, page, served
from playwright.sync_api import Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures


def _choose(page: Page, axis: str, field: str, values: str) -> None:
    choice = page.get_by_role("combobox", name=axis, exact=True)
    choice.fill(field)
    page.get_by_role("option", name=field, exact=True).click()
    page.get_by_role("group", name=f"Axis {axis}").get_by_label("Values").fill(values)


def test_two_fields_make_a_sheet_of_four(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, _):
        page.goto(f"{address}/explore")
        fill(page, "a red apple <img src=x onerror=document.title='broken'>", 2)
        _choose(page, "X", "steps", "1, no")
        expect(page.get_by_text("'no' is not a whole number")).to_be_visible()
        _choose(page, "X", "steps", "1-2")
        _choose(page, "Y", "cfg scale", "1, 3.5")
        expect(page.get_by_text("Pictures: 4")).to_be_visible()
        generate(page)
        expect(page.get_by_text("Done: 4 pictures")).to_be_visible(timeout=180_000)
        for label in ("steps: 1", "steps: 2", "cfg scale: 1", "cfg scale: 3.5"):
            expect(page.locator(".sheet th", has_text=label).first).to_be_visible()
        pictures = page.locator(".sheet .thumb")
        expect(pictures).to_have_count(4)
        before = pictures.nth(3).bounding_box()
        page.get_by_role("button", name="Zoom in").click()
        after = pictures.nth(3).bounding_box()
        assert before is not None
        assert after is not None
        assert after["width"] > 1.2 * before["width"]
        page.get_by_role("button", name="Whole picture").click()
        with page.expect_download() as sheet:
            page.get_by_role("button", name="Download the sheet").click()
        with Image.open(sheet.value.path()) as image:
            assert image.width > 2 * 64
            assert image.height > 2 * 64

        page.reload()
        expect(page.get_by_text("Done: 4 pictures")).to_be_visible()
        page.locator(".sheet .thumb").nth(1).focus()
        page.keyboard.press("Enter")
        expect(page.locator(".facts")).to_contain_text("Steps: 2")
        expect(page.locator(".facts")).to_contain_text("CFG scale: 1")
        assert page.title() == "Explore · Sfumato"
        page.get_by_role("button", name="Use these settings").click()
        expect(page.get_by_label("Steps", exact=True)).to_have_value("2")

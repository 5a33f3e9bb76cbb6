"""From words to a picture in the gallery, with no mouse."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, fill, page, served
from playwright.sync_api import Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
#: Tabs that are enough to reach anything of these pages.
MANY = 60


def _tab_to(page: Page, *, role: str = "", name: str) -> None:
    """Press Tab until what is wanted has the focus."""
    wanted = page.get_by_role(role, name=name, exact=True) if role else page.get_by_label(name, exact=True)  # type: ignore[arg-type]
    for _ in range(MANY):
        page.keyboard.press("Tab")
        if wanted.first.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{name} is not reached with Tab")


def test_a_picture_is_made_and_found_with_keys_alone(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, _):
        page.goto(address)
        fill(page, "", 2)  # a small picture, so that it is quick; the rest is keys
        page.goto("about:blank")
        page.goto(address)
        _tab_to(page, name="Prompt")
        page.keyboard.type("a sunflower")
        _tab_to(page, role="button", name="Generate")
        page.keyboard.press("Enter")
        expect(page.locator(".stage img:not(.preview)")).to_be_visible(timeout=120_000)

        page.keyboard.press("Home")
        page.evaluate("document.activeElement.blur()")
        _tab_to(page, role="link", name="Gallery")
        page.keyboard.press("Enter")
        expect(page.locator(".album .thumb")).to_have_count(1)
        _tab_to(page, role="button", name="a sunflower")
        page.keyboard.press("Enter")
        expect(page.locator(".viewer .facts")).to_contain_text("a sunflower")
        _tab_to(page, name="Add tags")
        page.keyboard.type("yellow")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Remove the tag yellow")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".viewer")).to_be_hidden()
        expect(page.locator(".album .thumb")).to_be_focused()

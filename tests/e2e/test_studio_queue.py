"""The queue's page in a real Chromium: jobs are put in another order by mouse and keys."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, page, served
from playwright.sync_api import Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures


def _waiting(address: str, page: Page, names: str) -> None:
    """Jobs that wait in a queue that is held."""
    page.goto(f"{address}/queue")
    page.get_by_role("button", name="Hold the queue").click()
    for name in names:
        asked = json.dumps({"request": {"prompt": name, "width": 64, "height": 64, "steps": 1}})
        assert page.request.post(f"{address}/api/v1/jobs", data=asked, headers={"Content-Type": "application/json"}).ok
    expect(page.locator(".job")).to_have_count(len(names))


def _press(page: Page, words: str, order: str, said: str) -> None:
    page.get_by_role("button", name=words, exact=True).click()
    expect(page.locator(".job .words > :first-child")).to_have_text([*order])
    expect(page.get_by_role("status").filter(has_text="that wait")).to_have_text(said)
    listed = page.request.get(page.url.replace("/queue", "/api/v1/jobs")).json()["jobs"]
    assert "".join(job["request"]["prompt"] for job in listed) == order


def test_jobs_are_moved(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, _):
        _waiting(address, page, "ABCD")
        _press(page, "Move up: C", "ACBD", "C: number 2 of 4 that wait")
        _press(page, "Move down: A", "CABD", "A: number 2 of 4 that wait")
        _press(page, "To the end: C", "ABDC", "C: number 4 of 4 that wait")
        _press(page, "To the top: D", "DABC", "D: number 1 of 4 that wait")
        for words in ("To the top: D", "Move up: D", "Move down: C", "To the end: C"):
            expect(page.get_by_role("button", name=words)).to_be_disabled()

        page.get_by_role("button", name="Move down: D").focus()
        page.keyboard.press("Enter")  # the same button has the focus again, so that it can be pressed again
        expect(page.get_by_role("status").filter(has_text="that wait")).to_have_text("D: number 2 of 4 that wait")
        expect(page.get_by_role("button", name="Move down: D")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect(page.locator(".job .words > :first-child")).to_have_text([*"ABCD"])
        expect(page.get_by_role("button", name="Move up: D")).to_be_focused()

        page.get_by_role("button", name="Cancel: B").click()
        expect(page.get_by_role("region", name="Ended")).to_contain_text("B")
        page.get_by_role("button", name="Try again: B").click()
        expect(page.locator(".job .words > :first-child")).to_have_text([*"ABCD"])

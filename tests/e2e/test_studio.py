"""The web studio as a person uses it: the server as a process, and a real Chromium."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, ROOT, browser, fill, generate, page, served
from playwright.sync_api import Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures


def test_words_become_a_picture_and_nothing_leaves_the_computer(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, process):
        page.goto(address)
        fill(page, "a red (apple:1.3) <img src=x onerror=document.title='broken'>", 2)
        expect(page.locator(".reading .strong").first).to_have_text("apple")
        generate(page)
        expect(page.locator(".stage img:not(.preview)")).to_have_js_property("naturalWidth", 64, timeout=120_000)
        assert page.title() == "Create · Sfumato"
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 1

        page.goto(f"{address}/gallery")
        page.get_by_label("Search words").fill("apple")
        expect(page.get_by_text("Pictures: 1")).to_be_visible()
        page.locator(".album .thumb").click()
        expect(page.locator(".facts")).to_contain_text("a red (apple:1.3) <img")
        page.get_by_role("button", name="Make a favourite").click()
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 1

        page.goto(f"{address}/queue")
        expect(page.get_by_text("a red (apple:1.3) <img")).to_be_visible()
        page.goto(f"{address}/models")
        expect(page.get_by_role("button", name="Inspect: stable-universe")).to_be_visible()
        page.goto(f"{address}/settings")
        expect(page.get_by_role("cell", name="model.steps")).to_be_visible()

        away = [url for url in page.requests if not url.startswith((address, address.replace("http", "ws"), "data:"))]  # type: ignore[attr-defined]
        assert away == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_first_visit_ends_in_a_picture_with_one_click(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, _):
        page.goto(address)
        expect(page.locator(".q-field").filter(has_text="Model").first).to_contain_text("stable-universe")
        for example in ("a red apple on a white background", "a rocket and a star on a blue background"):
            expect(page.get_by_role("button", name=example)).to_be_visible()
        page.get_by_role("button", name="a fox").click()
        expect(page.locator(".stage img:not(.preview)")).to_have_js_property("naturalWidth", 256, timeout=120_000)
        page.reload()
        expect(page.get_by_role("button", name="a fox")).to_have_count(1)  # the picture in the strip


def test_a_wrong_field_is_told_where_it_is(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, _):
        page.goto(address)
        fill(page, "a cat", 2, side=65)
        generate(page)
        expect(page.get_by_text("No picture: width is 65 pixels")).to_be_visible(timeout=120_000)


@pytest.mark.timeout(600)
def test_the_page_shows_the_job_again_after_the_server_was_killed(tmp_path: Path, page: Page) -> None:
    with served(tmp_path) as (address, process):
        page.goto(address)
        fill(page, "a cat", 60)
        page.get_by_label("Pictures", exact=True).fill("8")
        generate(page)
        expect(page.get_by_text("Step 1")).to_be_visible(timeout=120_000)
        process.kill()
    with served(tmp_path) as (address, _):
        page.goto(f"{address}/queue")
        expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=400_000)
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 8


def test_other_names_are_refused(tmp_path: Path) -> None:
    with served(tmp_path) as (address, _):
        with urllib.request.urlopen(f"{address}/api/v1/health", timeout=20) as answer:
            assert b'"status":"ok"' in answer.read()
        request = urllib.request.Request(f"{address}/api/v1/health", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=20)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen"], "also give --api_auth"),
        (["--port", "70000"], "--port 70000: give a number from 0 to 65535"),
        (["--listen", "--api_auth", "a:b"], "at least 8 characters"),
    ],
)
def test_unsafe_and_impossible_flags_are_refused(tmp_path: Path, flags: list[str], words: str) -> None:
    command = [sys.executable, str(ROOT / "webui.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2
    assert words in done.stderr

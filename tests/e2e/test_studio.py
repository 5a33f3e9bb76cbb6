"""The web studio as a person uses it: the server as a process, and a real Chromium."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which .ci/run installs"),
]


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server in a folder, and the address that it says it has."""
    flags = ("--port", "0", "--threads", "1", "--outdir", str(folder / "outputs"))
    command = [sys.executable, str(ROOT / "webui.py"), *flags]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://localhost:\d+", line)
        assert found, line
        try:
            yield found[0], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.requests = []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.requests.append(request.url))  # type: ignore[attr-defined]
        yield page


def _fill(page: Page, prompt: str, steps: int, side: int = 64) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Steps").fill(str(steps))
    for name in ("Width", "Height"):
        page.get_by_label(name, exact=True).fill(str(side))
        page.get_by_label(name, exact=True).blur()


def _generate(page: Page) -> None:
    page.get_by_role("button", name="Generate", exact=True).click()


def test_words_become_a_picture_and_nothing_leaves_the_computer(tmp_path: Path, page: Page) -> None:
    with _served(tmp_path) as (address, process):
        page.goto(address)
        _fill(page, "a red (apple:1.3) <img src=x onerror=document.title='broken'>", 2)
        expect(page.locator(".reading .strong").first).to_have_text("apple")
        _generate(page)
        expect(page.locator(".stage img:not(.preview)")).to_have_js_property("naturalWidth", 64, timeout=120_000)
        assert page.title() == "Create · Sfumato"
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 1

        page.goto(f"{address}/gallery")
        page.get_by_label("Search words").fill("apple")
        expect(page.get_by_text("Pictures: 1")).to_be_visible()
        page.locator(".grid .thumb").click()
        expect(page.locator(".facts")).to_contain_text("a red (apple:1.3) <img")
        page.get_by_role("button", name="Make a favourite").click()
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 1

        page.goto(f"{address}/queue")
        expect(page.get_by_text("a red (apple:1.3) <img")).to_be_visible()
        page.goto(f"{address}/models")
        expect(page.get_by_role("cell", name="stable-universe")).to_be_visible()
        page.goto(f"{address}/settings")
        expect(page.get_by_role("cell", name="model.steps")).to_be_visible()

        away = [url for url in page.requests if not url.startswith((address, address.replace("http", "ws"), "data:"))]  # type: ignore[attr-defined]
        assert away == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_wrong_field_is_told_where_it_is(tmp_path: Path, page: Page) -> None:
    with _served(tmp_path) as (address, _):
        page.goto(address)
        _fill(page, "a cat", 2, side=65)
        _generate(page)
        expect(page.get_by_text("No picture: width is 65 pixels")).to_be_visible(timeout=120_000)


def test_the_page_shows_the_job_again_after_the_server_was_killed(tmp_path: Path, page: Page) -> None:
    with _served(tmp_path) as (address, process):
        page.goto(address)
        _fill(page, "a cat", 60)
        page.get_by_label("Pictures", exact=True).fill("8")
        _generate(page)
        expect(page.get_by_text("Step 1")).to_be_visible(timeout=120_000)
        process.kill()
    with _served(tmp_path) as (address, _):
        page.goto(f"{address}/queue")
        expect(page.get_by_text("Done", exact=True)).to_be_visible(timeout=180_000)
        assert len(list((tmp_path / "outputs").rglob("*.png"))) == 8


def test_other_names_are_refused(tmp_path: Path) -> None:
    with _served(tmp_path) as (address, _):
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

"""A real Chromium and the server as a process, for the tests of the web studio's pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
#: Milliseconds that a page is waited for: two browsers and two servers share two cores.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
#: What a test of the pages is marked with.
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which .ci/run installs"),
]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
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
    # clicks miss what slides where frames are few
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.requests = []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.requests.append(request.url))  # type: ignore[attr-defined]
        yield page


def fill(page: Page, prompt: str, steps: int, side: int = 64) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Steps", exact=True).fill(str(steps))
    for name in ("Width", "Height"):
        page.get_by_label(name, exact=True).fill(str(side))
        page.get_by_label(name, exact=True).blur()


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate", exact=True).click()

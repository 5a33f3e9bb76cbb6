"""The models in a real Chromium: their pictures, in and out of memory, and a smaller one made by a click."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, page, served
from checkpoints import make_networks, write_ldm
from playwright.sync_api import Page, expect

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
#: Of a model that can't be read.
NAME = "<img src=x onerror=document.title='broken'>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    write_ldm(tmp_path / "models" / "tiny.safetensors", *make_networks(seed=5))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "models" / "tiny.preview.png")
    (tmp_path / "models" / f"{NAME}.safetensors").write_bytes(b"123")
    return tmp_path


def test_models_are_shown_loaded_and_made_smaller(folder: Path, page: Page) -> None:
    with served(folder) as (address, _):
        page.goto(f"{address}/models")
        rows = page.locator(".job.model")
        expect(rows).to_have_count(3)
        tiny = rows.filter(has_text="tiny")
        expect(tiny).to_contain_text("Stable Diffusion 1")
        expect(tiny.locator("img")).to_have_js_property("naturalWidth", 32)
        expect(rows.filter(has_text=NAME)).to_have_count(1)
        page.get_by_role("button", name="Load: tiny").click()
        expect(page.get_by_text("Loading tiny")).to_be_visible()
        page.get_by_role("button", name="Let go of the model").click()
        expect(page.get_by_text("The model is let go of")).to_be_visible()

        page.get_by_role("button", name="Make smaller: tiny").click()
        expect(page.get_by_label("Name of the new model")).to_have_value("tiny-q8_0")
        page.get_by_role("button", name="Make smaller", exact=True).click()
        expect(page.get_by_text("tiny-q8_0 is ready")).to_be_visible(timeout=120_000)
        expect(page.get_by_text(re.compile(r"[\d.]+ bits a weight"))).to_be_visible()
        expect(page.get_by_role("button", name="Inspect: tiny-q8_0")).to_be_visible()
        assert (folder / "models" / "tiny-q8_0.gguf").is_file()

        page.get_by_role("button", name=f"Make smaller: {NAME}").click()
        page.get_by_role("button", name="Make smaller", exact=True).click()
        expect(page.get_by_text("was not made")).to_be_visible(timeout=120_000)
        assert page.title() == "Models · Sfumato"

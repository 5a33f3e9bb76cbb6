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
    for place in ("", "loras"):
        (tmp_path / "models" / place).mkdir(exist_ok=True)
        (tmp_path / "models" / place / f"{NAME}.safetensors").write_bytes(b"123")
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

        loras = page.get_by_role("region", name="LoRAs")
        expect(loras.locator(".part")).to_contain_text(NAME)
        expect(loras.locator(".part .error")).to_contain_text("text and not a safetensors file")
        expect(page.get_by_role("region", name="Embeddings")).to_contain_text(str(Path("models") / "embeddings"))

        damaged = rows.filter(has_text=NAME)
        expect(damaged.locator(".error")).to_contain_text("text and not a safetensors file")
        for act in ("Load", "Make smaller", "Draw with it"):
            expect(page.get_by_role("button", name=f"{act}: {NAME}")).to_be_disabled()
        assert page.title() == "Models · Sfumato"


def test_a_smaller_one_is_cancelled_or_says_why_it_failed(folder: Path, page: Page) -> None:
    with served(folder) as (address, _):
        page.goto(f"{address}/models")
        expect(page.locator(".job.model").filter(has_text="tiny")).to_contain_text("Stable Diffusion 1")
        page.get_by_role("button", name="Make smaller: tiny").click()
        page.get_by_role("button", name="Make smaller", exact=True).click()
        page.get_by_role("button", name="Cancel: tiny-q8_0").click()
        expect(page.get_by_text("tiny-q8_0 was cancelled; nothing is left of it")).to_be_visible()
        assert not list((folder / "models").glob("*q8_0*"))

        (folder / "models" / "tiny.safetensors").write_bytes(b"123")
        page.get_by_role("button", name="Make smaller: tiny").click()
        page.get_by_label("Name of the new model").fill("other")
        page.get_by_role("button", name="Make smaller", exact=True).click()
        failed = page.get_by_text("other was not made: ")
        expect(failed).to_contain_text("text and not a safetensors file", timeout=120_000)

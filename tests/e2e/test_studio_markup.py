"""Prompts, file names, metadata and names of models and LoRAs that look like markup: text on every page."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, page, served
from playwright.sync_api import Page, expect
from upscalers import write_plain

from sfumato.gallery import files
from sfumato.request import ImageInfo, Seconds

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
MARKUP = "<img src=x onerror=document.title='broken'>"
INFO = ImageInfo(
    prompt=MARKUP, negative_prompt=MARKUP, seed=7, width=64, height=64, steps=7, sampler="Euler a", scheduler="Karras",
    cfg_scale=5.5, clip_skip=1, eta=None, model=MARKUP, model_hash="", device="cpu", dtype="float32",
    seconds=Seconds(encode=0, sample=0, decode=0),
)  # fmt: skip
PAGES = ("", "edit", "upscale", "explore", "gallery", "queue", "train", "models", "settings")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server all of whose files are called so."""
    folder = tmp_path_factory.mktemp("studio")
    for kind in ("", "loras", "embeddings", "vae"):
        (folder / "models" / kind).mkdir(parents=True, exist_ok=True)
        (folder / "models" / kind / f"{MARKUP}.safetensors").write_bytes(b"")
    (folder / "models" / "wildcards").mkdir()
    (folder / "models" / "wildcards" / f"{MARKUP}.txt").write_text(MARKUP, encoding="utf-8")
    write_plain(folder / "models" / "upscalers", MARKUP)
    (folder / "outputs").mkdir()
    picture = Image.new("RGB", (64, 64), "navy")
    picture.save(folder / "outputs" / f"{MARKUP}.png")
    for seed in (7, 8):
        files.save(picture, replace(INFO, seed=seed), folder / "outputs")
    with served(folder) as (address, _):
        yield address


@pytest.fixture
def text_only(page: Page) -> Iterator[Page]:
    """The page, on which at the end no markup may have become part of it."""
    yield page
    assert page.locator("img[src=x]").count() == 0
    assert "broken" not in page.title()


def _queue(page: Page, address: str) -> None:
    """A job that fails, with what it was asked for."""
    request = {"prompt": MARKUP, "negative_prompt": MARKUP, "width": 64, "height": 64, "steps": 1}
    asked = json.dumps({"request": request, "model": MARKUP})
    assert page.request.post(f"{address}/api/v1/jobs", data=asked, headers={"Content-Type": "application/json"}).ok


def test_a_job_that_failed(address: str, text_only: Page) -> None:
    _queue(text_only, address)
    text_only.goto(f"{address}/queue")
    expect(text_only.locator(".job").get_by_text(MARKUP, exact=True)).to_be_visible()
    expect(text_only.locator(".job .error")).to_contain_text(MARKUP, timeout=120_000)


@pytest.mark.parametrize("name", ["", "edit", "explore"])
def test_prompts_and_names_of_models(address: str, text_only: Page, name: str) -> None:
    text_only.goto(f"{address}/{name}")
    prompt = text_only.get_by_label("Prompt", exact=True)
    prompt.fill(f"({MARKUP}:1.2) [{MARKUP} <lora:{MARKUP}:1> __{MARKUP}__")
    expect(text_only.locator(".reading").first).to_contain_text(MARKUP)
    text_only.get_by_role("combobox", name="Model").click()
    option = text_only.get_by_role("option", name=MARKUP)
    expect(option).to_contain_text("will not load")
    option.click()
    expect(text_only.locator(".q-field").filter(has_text="Model").first).to_contain_text(MARKUP)


def test_pieces_of_prompts_and_upscalers(address: str, text_only: Page) -> None:
    text_only.goto(address)
    text_only.get_by_role("button", name="LoRAs, embeddings, styles").click()
    for kind in ("LoRAs", "Embeddings"):
        expect(text_only.get_by_role("group", name=kind, exact=True)).to_contain_text(MARKUP)
    text_only.get_by_label("Prompt", exact=True).fill("a __img")
    expect(text_only.get_by_role("group", name="Names that fit")).to_contain_text(MARKUP)
    text_only.goto(f"{address}/upscale")
    text_only.get_by_label("By", exact=True).click()
    expect(text_only.get_by_role("option", name=MARKUP)).to_be_visible()


def test_the_gallery_and_the_models(address: str, text_only: Page) -> None:
    text_only.goto(f"{address}/gallery")
    expect(text_only.locator(".album .thumb")).to_have_count(3)
    for number in range(3):
        text_only.locator(".album .thumb").nth(number).click()
        expect(text_only.locator(".viewer .facts")).to_contain_text(MARKUP)
        text_only.keyboard.press("Escape")
        expect(text_only.locator(".viewer")).to_be_hidden()
    for number in (0, 2):  # the last is the oldest, which says nothing but its name
        text_only.locator(".album input").nth(number).check()
    text_only.get_by_role("button", name="Compare").click()
    expect(text_only.locator(".two")).to_contain_text(MARKUP)
    text_only.goto(f"{address}/models")
    expect(text_only.locator(".job.model").filter(has_text=MARKUP).locator(".error")).not_to_be_empty()
    text_only.get_by_role("button", name=f"Inspect: {MARKUP}").click()
    expect(text_only.locator(".big")).to_contain_text(MARKUP)


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("edit", "upscale")])
def test_what_a_picture_says_that_is_dropped_on_a_page(address: str, text_only: Page, name: str) -> None:
    data = files.describe(Image.new("RGB", (64, 64)), INFO)
    text_only.goto(f"{address}/{name}")
    text_only.wait_for_function("window.socket?.connected")
    text_only.evaluate(
        """([text, name]) => {
          const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const carried = new DataTransfer();
          carried.items.add(new File([bytes], name, { type: "image/png" }));
          const told = { dataTransfer: carried, bubbles: true, cancelable: true };
          document.querySelector("#main").dispatchEvent(new DragEvent("drop", told));
        }""",
        [base64.b64encode(data).decode(), f"{MARKUP}.png"],
    )
    expect(text_only.locator(".big .facts")).to_contain_text(MARKUP)
    text_only.get_by_role("button", name="Use these settings").click()
    expect(text_only.get_by_label("Prompt", exact=True)).to_have_value(MARKUP)


@pytest.mark.parametrize("name", ["edit", "upscale"])
def test_a_picture_that_is_worked_on(address: str, text_only: Page, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{MARKUP}.png"
    path.write_bytes(files.describe(Image.new("RGB", (64, 64)), INFO))
    text_only.goto(f"{address}/{name}")
    text_only.locator(".drop input").set_input_files(path)
    expect(text_only.locator(".drop.slim")).to_be_visible()
    if name == "upscale":
        text_only.locator(".go").click()
        expect(text_only.get_by_role("button", name=MARKUP)).to_be_visible(timeout=120_000)

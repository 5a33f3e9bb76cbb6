"""Every page in a real Chromium: access, phones, names that look like markup; and training."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import new_thing
from browsing import MARKS, browser, page, served
from playwright.sync_api import Page, expect

from sfumato.training import status

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
PAGES = ("", "edit", "upscale", "explore", "gallery", "queue", "train", "models", "settings")
#: The name of a LoRA and of a picture for training.
MARKUP = "<img src=x onerror=document.title='broken'>"

#: Whether nothing lies over the middle of the button that starts.
SEEN = """() => {
  const box = document.querySelector(".go").getBoundingClientRect();
  return !!document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)?.closest(".go");
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("studio")
    (made / "models" / "loras").mkdir(parents=True)
    (made / "models" / "loras" / f"{MARKUP}.safetensors").write_bytes(b"")
    new_thing.write(made / "zorbs", 64)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The server's, in a folder with a LoRA."""
    with served(folder) as (address, _):
        yield address


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_a_serious_fault_of_access(address: str, page: Page, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    faults = []
    for name in PAGES:
        page.goto(f"{address}/{name}")
        expect(page.locator("#main")).to_be_visible()
        if dark and not name:
            page.get_by_label("Dark or light").click()
        page.wait_for_timeout(500)
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                faults.append((name, fault["id"], [node["html"] for node in fault["nodes"]]))
    assert faults == []


def test_every_page_fits_a_phone(address: str, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name in PAGES:
        page.goto(f"{address}/{name}")
        expect(page.get_by_label("Dark or light")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_the_button_that_starts_is_in_view_on_low_windows(address: str, page: Page) -> None:
    page.set_viewport_size({"width": 1180, "height": 720})
    for name in ("", "edit", "upscale", "explore", "train"):
        page.goto(f"{address}/{name}")
        expect(page.locator(".go")).to_be_in_viewport(ratio=1)
        assert page.evaluate(SEEN), name
        if name in ("", "edit"):
            expect(page.get_by_text(re.compile(r"GB free"))).to_be_in_viewport()


def test_prompts_take_loras_and_styles(address: str, page: Page, folder: Path) -> None:
    page.goto(address)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a cat")
    expect(page.get_by_text(re.compile(r"GB free"))).to_be_visible()
    page.get_by_role("button", name="LoRAs, embeddings, styles").click()
    page.get_by_role("group", name="LoRAs", exact=True).get_by_text(MARKUP).click()
    expect(prompt).to_have_value(f"a cat <lora:{MARKUP}:1>")
    tokens = page.get_by_text(re.compile(r"of \d+ tokens")).first
    counted = tokens.inner_text()
    prompt.fill("{prompt}, oil on canvas")
    expect(tokens).not_to_have_text(counted)
    page.get_by_label("Name of a style").fill(MARKUP)
    page.get_by_role("button", name="Keep these prompts as a style").click()
    expect(page.get_by_role("group", name="Styles", exact=True)).to_contain_text(MARKUP)
    prompt.fill("a dog")
    page.get_by_role("group", name="Styles", exact=True).get_by_text(MARKUP).click()
    expect(prompt).to_have_value("a dog, oil on canvas")
    assert (folder / "models" / "styles.csv").is_file()
    prompt.fill("a cat <lora:<im")
    expect(page.get_by_role("group", name="Names that fit").get_by_role("button")).to_have_count(0)
    assert page.title() == "Create · Sfumato"


def test_a_training_is_started_stopped_and_found_again(address: str, page: Page, folder: Path) -> None:
    page.goto(f"{address}/train")
    page.get_by_label("Folder of pictures").fill("/nowhere")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text("/nowhere: there is no such folder.")).to_be_visible()
    page.get_by_label("Folder of pictures").fill(str(folder / "zorbs"))
    expect(page.get_by_label("Name of the result")).to_have_value("zorbs")
    for name, value in (("Rank", 2), ("Steps between samples", 0), ("Pictures to remember", 0)):
        page.get_by_label(name, exact=True).fill(str(value))
        page.get_by_label(name, exact=True).blur()
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text(re.compile(r"Step \d+ of 1000"))).to_be_visible(timeout=180_000)
    expect(page.locator("svg.curve")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Stop and keep the state").click()
    expect(page.get_by_text(re.compile(r"Stopped\. Step \d+ of 1000"))).to_be_visible(timeout=120_000)
    page.goto("about:blank")
    page.goto(f"{address}/train")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_a_training_is_planned_and_its_result_is_tried(address: str, page: Page, folder: Path) -> None:
    done = status.Status(
        state="done", steps=4, output="zorb.safetensors", flags=("--method=lora", "--instance_prompt=a photo of zorb")
    )
    (folder / "outputs" / "training" / "zorb").mkdir(parents=True)
    status.write(folder / "outputs" / "training" / "zorb", done)
    page.goto(f"{address}/train")
    page.get_by_label("Folder of pictures").fill(str(folder / "zorbs"))
    page.get_by_label("Pictures to remember", exact=True).fill("0")
    page.get_by_label("Pictures to remember", exact=True).blur()
    page.get_by_role("button", name="See what it will take").click()
    found = page.get_by_role("table")
    expect(found).to_contain_text("256×256: 10", timeout=180_000)
    expect(found).to_contain_text(re.compile(r"Memory\s*[\d.]+ GB of [\d.]+ GB free"))
    expect(page.get_by_text("Done: zorb.safetensors")).to_be_visible()
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a photo of zorb <lora:zorb:0.8>")

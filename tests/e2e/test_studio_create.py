"""The page that creates, as a person uses it: second passes, variations, names that are offered, and being stopped."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import MARKS, browser, fill, generate, page, served
from playwright.sync_api import Page, expect
from upscalers import write_plain

pytestmark = MARKS
__all__ = ["browser", "page"]  # fixtures
#: Types a word letter by letter and presses the button 10 ms after the last one, all within the page.
TYPE_AND_PRESS = """async ([words, name]) => {
  const area = document.querySelector("textarea");
  const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
  area.focus();
  for (let k = 1; k <= words.length; k++) {
    set.call(area, words.slice(0, k));
    area.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((go) => setTimeout(go, 10));
  }
  [...document.querySelectorAll("button")].find((one) => one.textContent.includes(name)).click();
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all of these tests, with a wildcard, and an upscaling network that makes pictures twice as large:
    its address."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "models" / "wildcards").mkdir(parents=True)
    (folder / "models" / "wildcards" / "colours.txt").write_text("red\n", encoding="utf-8")
    write_plain(folder / "models" / "upscale_models", "twice")
    with served(folder) as (address, _):
        yield address


def _prompts(page: Page, address: str) -> list[str]:
    return [job["request"]["prompt"] for job in page.request.get(f"{address}/api/v1/jobs").json()["jobs"]]


def test_a_second_pass_by_a_network_is_forecast_drawn_repeated_and_varied(studio: str, page: Page) -> None:
    page.goto(studio)
    fill(page, "a red apple", 2)
    memory = page.get_by_text(re.compile("GB free"))
    expect(memory).to_be_visible()
    page.get_by_role("switch", name="Larger, in a second pass").click()
    page.get_by_label("Enlarged by").click()
    page.get_by_role("option", name="twice").click()
    expect(memory).to_contain_text(re.compile(r"^0\.\d+ GB"))
    page.get_by_label("Times as large").fill("16")
    expect(memory).to_contain_text(re.compile(r"^[1-9]\.\d+ GB"))
    page.get_by_label("Times as large").fill("2")
    generate(page)
    shown = page.locator(".stage img:not(.preview)")
    expect(shown).to_have_js_property("naturalWidth", 128, timeout=120_000)
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Width", exact=True)).to_have_value("64")
    expect(page.get_by_label("Times as large")).to_have_value("2")
    page.get_by_role("button", name="Vary a little").click()
    expect(page.locator(".strip button")).to_have_count(2, timeout=120_000)
    first, second = page.request.get(f"{studio}/api/v1/jobs").json()["jobs"][-2:]
    assert first["request"]["hires"]["upscaler"] == second["request"]["hires"]["upscaler"] == "twice"
    assert second["request"]["seed"] == first["pictures"][0]["info"]["seed"]
    assert second["request"]["subseed_strength"] == 0.2


def test_names_of_wildcards_are_offered(studio: str, page: Page) -> None:
    page.goto(studio)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a __col")
    page.get_by_role("group", name="Names that fit").get_by_role("button", name="colours").click()
    expect(prompt).to_have_value("a __colours__")
    expect(page.get_by_role("group", name="Names that fit").get_by_role("button")).to_have_count(0)


def test_names_are_offered_where_one_types(studio: str, page: Page) -> None:
    page.goto(studio)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill(" car at night")
    prompt.press("Home")
    page.keyboard.type("__col")
    page.get_by_role("group", name="Names that fit").get_by_role("button", name="colours").click()
    expect(prompt).to_have_value("__colours__ car at night")
    expect(prompt).to_be_focused()


def test_weights_and_what_is_wrong_are_marked(studio: str, page: Page) -> None:
    page.goto(studio)
    page.get_by_label("Prompt", exact=True).fill("a (red:1.3) __colours__ <lora:so&so:1> __colour__ <b (cat")
    reading = page.locator(".reading").first
    expect(reading.locator(".strong").first).to_have_text("red")
    expect(reading.locator(".tag")).to_have_text("__colours__")
    expect(reading.locator(".wrong")).to_have_text(["<lora:so&so:1>", "__colour__", "("])
    expect(page.get_by_text("There is no LoRA so&so; they lie in models/loras.")).to_be_visible()
    expect(page.get_by_text("There is no wildcard colour; nearest: 'colours'.")).to_be_visible()
    expect(page.get_by_text("A bracket is never closed")).to_be_visible()
    page.get_by_label("Prompt", exact=True).fill("a cat")
    expect(page.get_by_text("A bracket is never closed")).to_be_hidden()
    expect(page.get_by_role("combobox", name="Model")).to_be_attached()
    expect(page.locator(".family").first).to_have_text("Stable Diffusion 1")
    assert page.title() == "Create · Sfumato"


def test_escape_in_a_menu_does_not_interrupt(studio: str, page: Page) -> None:
    page.goto(studio)
    fill(page, "an owl", 900)
    generate(page)
    expect(page.get_by_text(re.compile(r"Step \d+ of 900 · about \d+ s left · [\d.]+ (it/s|s/it)"))).to_be_visible(
        timeout=120_000
    )
    page.get_by_label("Sampler", exact=True).click()
    expect(page.get_by_role("option", name="Euler a", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("option", name="Euler a", exact=True)).to_be_hidden()
    assert _jobs(page, studio)[-1]["state"] == "running"
    page.keyboard.press("Escape")
    expect(page.locator(".stage").get_by_text("Interrupted")).to_be_visible()


def test_one_is_skipped_and_all_are_interrupted(studio: str, page: Page) -> None:
    page.goto(studio)
    fill(page, "a long one", 900)
    page.get_by_label("Prompt", exact=True).fill("the first")
    generate(page)
    expect(page.get_by_text(re.compile("Step .* of 900"))).to_be_visible(timeout=120_000)
    expect(page.get_by_role("button", name="Skip", exact=True)).to_be_hidden()
    for name in ("the second", "the third"):
        page.get_by_label("Prompt", exact=True).fill(name)
        generate(page)
    expect(page.get_by_text("Waiting: 2 before it")).to_be_visible()
    page.get_by_role("button", name="Skip", exact=True).click()
    expect(page.get_by_text(re.compile("Step .* of 900"))).to_be_visible(timeout=120_000)
    states = {job["request"]["prompt"]: job["state"] for job in _jobs(page, studio)}
    assert [states[name] for name in ("the first", "the second", "the third")] == ["cancelled", "running", "queued"]
    page.get_by_role("button", name="Interrupt all").click()
    expect(page.locator(".stage").get_by_text("Interrupted")).to_be_visible()
    assert {job["state"] for job in _jobs(page, studio) if job["request"]["prompt"].startswith("the ")} == {"cancelled"}


def _jobs(page: Page, address: str) -> list[dict]:
    return page.request.get(f"{address}/api/v1/jobs").json()["jobs"]


def test_the_last_letters_count_when_the_button_is_pressed_at_once(studio: str, page: Page) -> None:
    page.goto(studio)
    fill(page, "", 2)
    for words in ("a quickly typed sunflower", "a rocket typed as quickly"):
        before = len(_prompts(page, studio))
        page.evaluate(TYPE_AND_PRESS, [words, "Generate"])
        for _ in range(300):
            if len(_prompts(page, studio)) > before:
                break
            time.sleep(0.1)
        assert _prompts(page, studio)[before:] == [words]


def test_a_page_that_was_silent_for_long_keeps_what_was_typed(studio: str, page: Page) -> None:
    page.goto(studio)
    fill(page, "a cat", 2)
    page.evaluate("window.kept = true")
    page.get_by_label("Prompt", exact=True).fill("a cat that sleeps")
    page.evaluate("const end = Date.now() + 12000; while (Date.now() < end) {}")
    time.sleep(3)
    assert page.evaluate("window.kept") is True
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a cat that sleeps")

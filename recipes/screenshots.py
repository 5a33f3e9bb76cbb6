"""Screenshots of every page of the studio, light, dark and on a phone, from a fresh folder, as WebP.

    python recipes/screenshots.py --output docs/images

needs the ``test`` extra and Debian's Chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import new_thing
from browsing import CHROMIUM, QUIET, generate, served

#: Milliseconds for all that was asked for before to be drawn.
PATIENCE = 900_000
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
#: What the gallery shows: prompts and seeds.
DRAWN = (
    "a fox on a teal background",
    "a bowl of soup on an orange background",
    "an owl on a purple background",
    "a cat and a robot on a yellow background",
    "a cruise ship on a blue background",
    "a peacock on a pink background",
    "a guitar and a drum on a gray background",
    "a rocket",
    "a potted plant on a brown background",
    "a snail on a green background",
    "a puppy on a red background",
)
LAST = "a cat and a robot on a teal background"


def post(page: Page, address: str, prompt: str, steps: int = 20, side: int = 256) -> None:
    """Queue a picture over the API."""
    request = {"prompt": prompt, "seed": 7, "steps": steps, "width": side, "height": side}
    answer = page.request.post(
        f"{address}/api/v1/jobs",
        data=json.dumps({"request": request}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.ok, answer.text()


def create(page: Page, address: str, _: Path) -> None:
    """A picture that was just made."""
    page.goto(address)
    page.get_by_label("Prompt", exact=True).fill(LAST)
    generate(page)
    page.get_by_role("button", name="Edit", exact=True).first.wait_for(timeout=PATIENCE)


def edit(page: Page, address: str, _: Path) -> None:
    """A part painted and drawn anew."""
    page.get_by_role("button", name="Edit", exact=True).first.click()
    canvas = page.locator(".view canvas").last
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    middle, high = box["y"] + box["height"] / 2, box["height"] / 12
    for row in (-1, 0, 1):
        page.mouse.move(box["x"] + box["width"] * 0.58, middle + row * high)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, middle + row * high, steps=8)
        page.mouse.up()
    page.get_by_label("Prompt", exact=True).fill("a cat and a pumpkin on a teal background")


def upscale(page: Page, address: str, _: Path) -> None:
    """The picture that was made first, larger."""
    page.goto(address)
    page.get_by_role("button", name="Make larger").first.click()
    page.get_by_label("Times as large").fill("4")
    page.locator(".go").click()
    page.locator(".compare img.after").wait_for(timeout=180_000)


def explore(page: Page, address: str, _: Path) -> None:
    """A plot of two fields."""
    page.goto(f"{address}/explore")
    page.get_by_label("Prompt", exact=True).fill("an owl on a purple background")
    for axis, field, values in (("X", "prompt sr", "an owl,a fox,a snail"), ("Y", "steps", "2,6,20")):
        page.get_by_role("combobox", name=axis, exact=True).fill(field)
        page.get_by_role("option", name=field, exact=True).click()
        page.get_by_role("group", name=f"Axis {axis}").get_by_label("Values").fill(values)
    generate(page)
    page.get_by_text("Done: 9 pictures").wait_for(timeout=300_000)


def gallery(page: Page, address: str, _: Path) -> None:
    """All that was made."""
    page.goto(f"{address}/gallery")
    page.wait_for_timeout(1500)


def queue(page: Page, address: str, _: Path) -> None:
    """One that runs, two that wait, and those that are done."""
    for prompt in DRAWN[:3]:
        post(page, address, prompt, steps=200, side=512)
    page.goto(f"{address}/queue")
    page.wait_for_timeout(6000)


def train(page: Page, address: str, folder: Path) -> None:
    """What a training would take."""
    page.goto(f"{address}/train")
    page.get_by_label("Folder of pictures").fill(str(folder / "zorblins"))
    page.get_by_role("button", name="See what it will take").click()
    page.get_by_role("table").first.wait_for(timeout=180_000)


def models(page: Page, address: str, _: Path) -> None:
    """What is there."""
    page.goto(f"{address}/models")
    page.wait_for_timeout(1500)


def settings(page: Page, address: str, _: Path) -> None:
    """What is set, and what is touched."""
    page.goto(f"{address}/settings")
    page.wait_for_timeout(1000)


PAGES: tuple[Callable[[Page, str, Path], None], ...] = (
    create, edit, upscale, explore, gallery, train, models, settings, queue,
)  # fmt: skip


def shoot(page: Page, output: Path, name: str) -> None:
    """Save what the page shows in each of the three ways."""
    for way in ("light", "dark", "phone"):
        if way == "dark" or (way == "phone"):
            page.get_by_label("Dark or light").click()
        page.set_viewport_size(PHONE if way == "phone" else DESK)
        page.wait_for_timeout(700)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        picture.save(output / f"studio-{name}-{way}.webp", quality=82, method=6)
    page.set_viewport_size(DESK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="only these pages; the first is always made")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as (address, _), sync_playwright() as playwright:
        folder = Path(name)
        new_thing.write(folder / "zorblins", 256)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport=DESK)
        page.set_default_timeout(60_000)
        for prompt in DRAWN:
            post(page, address, prompt)
        for show in PAGES:
            if args.only is None or show.__name__ in (*args.only, "create"):
                show(page, address, folder)
                shoot(page, args.output, show.__name__)
        browser.close()


if __name__ == "__main__":
    main()

"""The web studio's quickness, measured in a real Chromium on a server that this starts in a folder of its own.

Prints a JSON object for each part: milliseconds (medians and 95th percentiles), counts, and bytes of the server's
resident memory; of a first visitor's picture, seconds. Pages are opened in turn with plain ones: see ``yardstick.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browsing import CHROMIUM, QUIET, served

from sfumato.gallery import files
from sfumato.gallery.album import Gallery
from sfumato.gallery.index import Query
from sfumato.request import ImageInfo, Seconds

INFO = ImageInfo(
    prompt="", negative_prompt="", seed=0, width=128, height=128, steps=20, sampler="Euler a", scheduler="Karras",
    cfg_scale=7.0, clip_skip=1, eta=None, model="stable-universe", model_hash="", device="cpu", dtype="float32",
    seconds=Seconds(encode=0, sample=0, decode=0),
)  # fmt: skip
#: Milliseconds that anything may take on a busy machine.
PATIENCE = 180_000
#: A page is ready when its words can be typed and its connection to the server stands.
READY = "() => window.socket?.connected && document.querySelector('textarea')"
#: Each key's time from its event to the frame after it was taken in.
KEYS = """() => {
  window.keys = [];
  const field = document.querySelector("textarea");
  let pressed = 0;
  field.addEventListener("keydown", (event) => (pressed = event.timeStamp));
  field.addEventListener("input", () => {
    const from = pressed;
    requestAnimationFrame(() => setTimeout(() => window.keys.push(performance.now() - from)));
  });
}"""
#: The cells that the view should show now: how many, how many are not there, how many have no picture yet.
CELLS = """window.cells = () => {
  const album = document.querySelector(".album"), cell = album.querySelector(".cell");
  const [box, side] = [album.getBoundingClientRect(), cell.getBoundingClientRect().width];
  const [columns, step] = [Math.round((box.width + 10) / (side + 10)), side + 10];
  const found = { cells: 0, missing: 0, blank: 0 };
  for (let row = Math.max(0, Math.floor((70 - box.top) / step)); box.top + row * step + side / 2 < innerHeight; row++)
    for (let column = 0; column < columns; column++) {
      const [x, y] = [box.left + column * step + side / 2, box.top + row * step + side / 2];
      if (y < 70 || y > box.bottom) continue;
      const there = document.elementFromPoint(x, y)?.closest(".cell")?.querySelector("img");
      found.cells++;
      if (!there) found.missing++;
      else if (!there.complete || !there.naturalWidth) found.blank++;
    }
  return found;
}"""
FULL = """() => {
  const now = document.querySelector(".album .cell") && cells();
  return now && now.cells > 0 && now.missing + now.blank === 0;
}"""
#: Of the yardstick's thumbnails: all in the window are there.
YARDSTICK_FULL = """() => {
  const inside = (box) => box.top < innerHeight && box.bottom > 0;
  const images = [...document.images].filter((image) => inside(image.getBoundingClientRect()));
  return images.length > 30 && images.every((image) => image.complete && image.naturalWidth);
}"""
#: Scrolls by so many pixels a frame, and looks at each frame.
SCROLL = """([pixels, frames]) => new Promise((done) => {
  const sum = { frames: 0, cells: 0, missing: 0, blank: 0 };
  const look = () => {
    const now = cells();
    sum.frames++;
    for (const key of ["cells", "missing", "blank"]) sum[key] += now[key];
    if (sum.frames >= frames) return done(sum);
    scrollBy(0, pixels);
    requestAnimationFrame(look);
  };
  look();
})"""
#: Counts the previews that come.
PREVIEWS = """(() => {
  window.previews = new Set();
  setInterval(() => {
    const image = document.querySelector(".stage img.preview");
    if (image?.complete && image.naturalWidth) window.previews.add(image.src);
  }, 100);
})()"""


def fill_gallery(folder: Path, count: int) -> None:
    """Pictures with their metadata, an index of them, and all their thumbnails."""
    folder.mkdir(parents=True)
    for k in range(count):
        image = Image.new("RGB", (128, 128), (k % 256, k // 256 % 256, 128))
        info = replace(INFO, seed=k, prompt=f"picture {k} of a gallery with very many of them")
        (folder / f"{k:05}.png").write_bytes(files.describe(image, info))
    gallery = Gallery(folder)
    gallery.scan()
    for each in gallery.order(Query()):
        gallery.thumbnail(each.id)
    gallery.close()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 1), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1)}


def visitor(browser: Browser) -> BrowserContext:
    """A browser context that knows nothing, and is patient."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    return context


def open_time(browser: Browser, address: str, ready: str) -> float:
    """Milliseconds from navigation until ``ready``, in a browser context that knows nothing."""
    with visitor(browser) as context:
        page = context.new_page()
        page.add_init_script(CELLS)
        page.goto(address, wait_until="commit")
        page.wait_for_function(ready, polling=10)
        return page.evaluate("performance.now()")


def open_times(browser: Browser, ours: tuple[str, str], plain: tuple[str, str], rounds: int) -> dict[str, Any]:
    """Our page and the yardstick's in turn, each an address and what tells that it is ready; their medians' ratio."""
    times: dict[str, list[float]] = {"ours": [], "yardstick": []}
    for _ in range(rounds):
        for name, page in zip(times, (ours, plain), strict=True):
            times[name].append(open_time(browser, *page))
    found: dict[str, Any] = {name: spread(each) for name, each in times.items()}
    return {**found, "ratio": round(found["ours"]["p50"] / found["yardstick"]["p50"], 2)}


@contextmanager
def yardstick(outputs: Path) -> Iterator[str]:
    """The address of the plain pages, with the gallery's thumbnails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = next(outputs.rglob("thumbnails"))
    command = [sys.executable, str(Path(__file__).parent / "yardstick.py"), str(port), str(folder)]
    with subprocess.Popen(command) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(address, timeout=60).close()
                    break
                time.sleep(0.2)
            else:
                raise SystemExit("yardstick.py has ended: see above")
            yield address
        finally:
            process.kill()


def menu_times(browser: Browser, address: str, name: str, ready: str, rounds: int) -> dict[str, float]:
    """Milliseconds from a click in Create's menu until ``ready``, by a visitor who was on both pages before."""
    times = []
    with visitor(browser) as context:
        page = context.new_page()
        page.add_init_script(CELLS)
        for _ in range(rounds + 2):
            page.goto(address)
            page.wait_for_function(READY)
            page.get_by_role("link", name=name, exact=True).click()
            page.wait_for_url("**/" + name.lower())
            page.wait_for_function(ready, polling=10)
            times.append(page.evaluate("performance.now()"))
    return spread(times[2:])


def begin_job(address: str, steps: int) -> str:
    """Queue a picture that takes long; returns the job's id when it is being drawn."""
    asked = {"request": {"prompt": "a sunflower", "width": 256, "height": 256, "steps": steps}, "save": False}
    job = call(f"{address}/api/v1/jobs", asked)["id"]
    while call(f"{address}/api/v1/jobs/{job}")["progress"]["step"] < 1:
        time.sleep(0.2)
    return job


def call(address: str, body: Any = None) -> Any:
    """What the API answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def first_picture(browser: Browser, address: str) -> dict[str, float]:
    """Seconds from a first visitor's one click on an example to its picture, and again with the model in memory."""
    found = {}
    for name in ("first", "again"):
        with visitor(browser) as context:
            page = context.new_page()
            page.goto(address)
            page.wait_for_function(READY)
            began = time.monotonic()
            page.get_by_role("button", name="a fox", exact=True).click()
            page.wait_for_function("document.querySelector('.stage img:not(.preview)')?.naturalWidth")
            found[name] = round(time.monotonic() - began, 2)
    return found


def typing(browser: Browser, address: str, keys: int, steps: int) -> dict[str, Any]:
    """Milliseconds a key in the prompt while a picture is being made."""
    job = begin_job(address, steps)
    with visitor(browser) as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_function(READY)
        page.evaluate(KEYS)
        page.locator("textarea").first.click()
        page.keyboard.type(("a red apple on a table, " * keys)[:keys], delay=100)
        page.wait_for_timeout(500)
        times = page.evaluate("keys")
    state = call(f"{address}/api/v1/jobs/{job}")["state"]
    call(f"{address}/api/v1/jobs/{job}/cancel", {})
    return {**spread(times), "keys": len(times), "job_at_the_end": state}


def scrolling(browser: Browser, address: str, frames: int) -> dict[str, Any]:
    """Cells that are not there, or have no picture yet, while scrolling evenly and after jumps."""
    with visitor(browser) as context:
        page = context.new_page()
        page.add_init_script(CELLS)
        page.goto(f"{address}/gallery")
        page.wait_for_function(FULL)
        even = page.evaluate(SCROLL, [60, frames])
        jumps = []
        for part in (0.9, 0.2, 0.6, 0.05, 0.75):
            page.evaluate("part => scrollTo(0, part * document.documentElement.scrollHeight)", part)
            began = page.evaluate("performance.now()")
            page.wait_for_function(FULL, polling=10)
            jumps.append(page.evaluate("performance.now()") - began)
        return {"even": even, "jump_until_full": spread(jumps), "cells_in_page": page.locator(".album .cell").count()}


def tabs(browser: Browser, address: str, pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """Previews that come to each of many tabs of one visitor, and the server's memory."""
    server = psutil.Process(pid)
    memory = {"before": server.memory_info().rss}
    with visitor(browser) as context:
        pages: list[Page] = []
        for _ in range(options.tabs):
            pages.append(context.new_page())
            pages[-1].add_init_script(PREVIEWS)  # also of a page that loads itself anew, as after a lost connection
            pages[-1].goto(address)
            pages[-1].wait_for_function(READY)
        memory["open"] = server.memory_info().rss
        _draw(pages[0], options.steps)
        for page in pages:
            page.reload()
            page.wait_for_function(READY)
        most, end = 0, time.monotonic() + options.seconds
        while time.monotonic() < end:
            most = max(most, server.memory_info().rss)
            time.sleep(0.5)
        seen = [page.evaluate("previews.size") for page in pages]
        pages[0].keyboard.press("Escape")
    memory |= {"most_with_previews": most, "after": server.memory_info().rss}
    return {"tabs": len(seen), "previews_a_tab": {"least": min(seen), "most": max(seen)}, "memory": memory}


def _draw(page: Page, steps: int) -> None:
    page.get_by_label("Prompt", exact=True).fill("a sunflower")
    for name, value in (("Steps", steps), ("Width", 256), ("Height", 256)):
        page.get_by_label(name, exact=True).fill(str(value))
        page.get_by_label(name, exact=True).blur()
    page.get_by_role("button", name="Generate", exact=True).click()
    page.locator(".stage img.preview").wait_for()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000, help="of the gallery")
    parser.add_argument("--rounds", type=int, default=5, help="of opening a page")
    parser.add_argument("--keys", type=int, default=150)
    parser.add_argument("--frames", type=int, default=600, help="of scrolling")
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30, help="that the tabs are watched")
    parser.add_argument("--steps", type=int, default=900, help="of the pictures that are made meanwhile")
    parser.add_argument("--only", nargs="+", choices=("first", "open", "keys", "gallery", "tabs"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        fill_gallery(folder / "outputs", options.pictures)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        with served(folder) as (address, process), yardstick(folder / "outputs") as plain:
            call(f"{address}/api/v1/gallery/scan", {})
            parts: dict[str, Callable[[], Any]] = {
                "first": lambda: first_picture(browser, address),
                "open": lambda: open_times(browser, (address, READY), (plain, READY), options.rounds),
                "keys": lambda: typing(browser, address, options.keys, options.steps),
                "gallery": lambda: {
                    "pictures": options.pictures,
                    "open_until_full": open_times(
                        browser, (f"{address}/gallery", FULL), (f"{plain}/thumbnails", YARDSTICK_FULL), options.rounds
                    ),
                    "menu_until_full": menu_times(browser, address, "Gallery", FULL, options.rounds),
                    **scrolling(browser, address, options.frames),
                },
                "tabs": lambda: tabs(browser, address, process.pid, options),
            }
            for part, measure in parts.items():
                if not options.only or part in options.only:
                    print(json.dumps({part: measure()}), flush=True)
        browser.close()


if __name__ == "__main__":
    main()

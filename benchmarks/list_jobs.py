"""How long a list of jobs takes whose requests have pictures.

    python benchmarks/list_jobs.py --jobs 200 --side 512

The jobs wait in a queue of a folder of this run, each with a picture and a mask of its own of noise, which PNG can't
make small. What is timed is reading and describing all of them, as ``GET /api/v1/jobs`` does, without the web
framework; and the same with every picture decoded, which is what it is compared with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
from sfumato.jobs.queue import JobQueue
from sfumato.request import InitImage, Mask, Txt2ImgRequest
from sfumato.server.api.native import describe


def fill(queue: JobQueue, jobs: int, side: int) -> None:
    """Queue the jobs."""
    for number in range(jobs):
        picture = Image.frombytes("RGB", (side, side), os.urandom(3 * side * side))
        mask = Mask(picture=Image.frombytes("L", (side, side), os.urandom(side * side)))
        init = InitImage(picture=picture, mask=mask)
        queue.submit(Txt2ImgRequest(prompt=f"picture {number}", seed=number, init=init))


def timed(act: Callable[[], object], rounds: int) -> float:
    """Seconds of an act: the median of some rounds, after one that is not counted."""
    act()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        queue = JobQueue(Path(folder))
        fill(queue, given.jobs, given.side)
        for name, pixels in (("decoded", True), ("listed", False)):
            seconds = timed(
                lambda pixels=pixels: [describe(job) for job in queue.list(limit=1000, pixels=pixels)], given.rounds
            )
            print(f"{name:8} {given.jobs} jobs of {given.side} x {given.side}: {1000 * seconds:.0f} ms")
        queue.close()


if __name__ == "__main__":
    main()

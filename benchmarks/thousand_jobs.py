"""Many jobs from many clients, drawn twice: once in peace, once with worker and server killed at random.

    python benchmarks/thousand_jobs.py --jobs 1000 --clients 50 --kills 20

Every job must end once and be drawn once, the pixels of both runs must be equal, and the server's memory must not grow.
Needs Linux: each client has a loopback address of its own. Exit code 1 if anything of it does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from PIL import Image

ROOT = Path(__file__).parents[1]
PROMPTS = ("a red apple", "a blue rocket", "a sunflower", "a cat on a chair")
#: From this share of the jobs on, the server's memory may not change by more than this part of it.
WARM, GROWTH = 0.1, 0.05
#: Seconds in which a client gets an answer, and between its questions.
PATIENCE, PAUSE = 600, 5
ENDED = ("done", "failed", "cancelled")


@dataclass
class Server:
    """``webui.py`` in a folder, started again on the same port whenever it is killed."""

    folder: Path
    port: int
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Does not wait for it: clients try again until it answers."""
        flags = ("--port", str(self.port), "--threads", "1", "--device", "cpu")
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, ROOT / "webui.py", *flags], cwd=self.folder, stderr=log)
        self.starts += 1

    @property
    def process_now(self) -> psutil.Process:
        """As psutil sees it."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def kill(self) -> None:
        """As the system does when memory runs out; the next one is started at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.start()

    def kill_worker(self) -> bool:
        """False if there is none now."""
        for child in self.process_now.children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                return True
        return False

    def stop(self) -> float:
        """Asks it to end; the seconds that took. Raises RuntimeError if its exit code is not 0."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        if self.process.wait(60) != 0:
            raise RuntimeError(f"the server ended with code {self.process.returncode}")
        return time.monotonic() - began


@dataclass
class Outcome:
    """What one run gave: pixels by seed, memory by number of jobs done, and what was killed."""

    pixels: dict[int, str] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    attempts: int = 0
    seconds: float = 0.0


class Client:
    """One of many: submits its jobs with a key each, and asks again whenever the server is gone."""

    def __init__(self, number: int, port: int, seeds: list[int]) -> None:
        self._seeds = seeds
        transport = httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}")
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30)

    def run(self) -> dict[int, dict]:
        """Its jobs by seed, each as it ended."""
        ids = {
            seed: self._ask("POST", "/api/v1/jobs", json=_body(seed), key=f"job-{seed}")["id"] for seed in self._seeds
        }
        ended: dict[int, dict] = {}
        for seed, job in ids.items():
            while (found := self._ask("GET", f"/api/v1/jobs/{job}"))["state"] not in ENDED:
                time.sleep(PAUSE)
            ended[seed] = found
        return ended

    def _ask(self, method: str, path: str, json: dict | None = None, key: str | None = None) -> dict:
        end = time.monotonic() + PATIENCE
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            try:
                answer = self._http.request(method, path, json=json, headers=headers)
                answer.raise_for_status()
                return answer.json()
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)


def _body(seed: int) -> dict:
    return {"request": {"prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed, "steps": 2, "width": 64, "height": 64}}


def run(folder: Path, jobs: int, clients: int, kills: int, dice: random.Random) -> Outcome:
    """All jobs through one server, which is killed ``kills`` times, itself or its worker."""
    folder.mkdir()
    outcome, server = Outcome(), Server(folder, _free_port())
    began = time.monotonic()
    server.start()
    each = [Client(k, server.port, list(range(k, jobs, clients))) for k in range(clients)]
    try:
        with ThreadPoolExecutor(clients) as pool, _beside(_watch, server, outcome, folder, jobs, kills, dice):
            ended = {seed: job for found in pool.map(Client.run, each) for seed, job in found.items()}
        outcome.seconds = time.monotonic() - began
        _check(folder, ended, jobs, outcome)
        if (took := server.stop()) > 10:
            outcome.faults.append(f"the end took {took:.1f} seconds")
    finally:
        if server.process is not None:
            server.process.kill()
    return outcome


def _watch(
    ending: threading.Event, server: Server, outcome: Outcome, folder: Path, jobs: int, kills: int, dice: random.Random
) -> None:
    """Measures the server's memory every tenth of the run, and kills when its moment has come."""
    moments = sorted(dice.randrange(jobs) for _ in range(kills))
    while not ending.wait(dice.uniform(0.2, 0.6)):
        made = sum(1 for _ in (folder / "outputs").rglob("*.png"))
        mark = made * 20 // jobs * jobs // 20
        if mark not in outcome.memory and server.process_now.is_running():
            outcome.memory[mark] = server.process_now.memory_info().rss
            print(f"{folder.name}: {made} of {jobs}, server {outcome.memory[mark] / 1e6:.1f} MB", flush=True)
        if moments and made >= moments[0]:
            if dice.random() < 0.5:
                server.kill()
                outcome.kills["server"] += 1
            elif server.kill_worker():
                outcome.kills["worker"] += 1
            else:
                continue
            moments.pop(0)


@contextmanager
def _beside(work, *arguments) -> Iterator[None]:
    ending = threading.Event()
    thread = threading.Thread(target=work, args=(ending, *arguments))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _check(folder: Path, ended: dict[int, dict], jobs: int, outcome: Outcome) -> None:
    """None lost, none twice, and each picture where its job says."""
    states = Counter(job["state"] for job in ended.values())
    if states != {"done": jobs}:
        causes = Counter(job["cause"]["message"] for job in ended.values() if job["cause"])
        outcome.faults.append(f"jobs ended as {dict(states)}: {dict(causes)}")
    outcome.attempts = sum(job["attempt"] for job in ended.values())
    if len({job["id"] for job in ended.values()}) != jobs:
        outcome.faults.append("two requests became one job")
    files = sorted((folder / "outputs").rglob("*.png"))
    if len(files) != jobs:
        outcome.faults.append(f"{len(files)} files for {jobs} jobs")
    for path in files:
        with Image.open(path) as image:
            seed = int(image.info["parameters"].partition("Seed: ")[2].partition(",")[0])
            if seed in outcome.pixels:
                outcome.faults.append(f"seed {seed} was drawn twice: {path.name}")
            outcome.pixels[seed] = hashlib.sha256(image.tobytes()).hexdigest()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def growth(memory: dict[int, int], jobs: int) -> float:
    """By how much of its own the memory changed, from a tenth of the jobs to the last one."""
    warm = [size for mark, size in sorted(memory.items()) if mark >= WARM * jobs]
    return max(abs(size - warm[0]) for size in warm) / warm[0]


def main() -> int:
    """Both runs, and a line of JSON for what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which is killed")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        calm = run(Path(folder) / "calm", given.jobs, given.clients, 0, random.Random(given.seed))
        rough = run(Path(folder) / "rough", given.jobs, given.clients, given.kills, random.Random(given.seed))
    faults = calm.faults + rough.faults
    if calm.pixels != rough.pixels:
        faults.append(f"{sum(calm.pixels[s] != rough.pixels.get(s) for s in calm.pixels)} pictures differ")
    grew = growth(calm.memory, given.jobs)
    if given.jobs >= 1000 and grew > GROWTH:
        faults.append(f"the server's memory changed by {grew:.1%}")
    said = {"jobs": given.jobs, "kills": dict(rough.kills), "attempts": rough.attempts, "memory_change": round(grew, 4)}
    print(json.dumps({**said, "seconds": [round(calm.seconds), round(rough.seconds)], "faults": faults}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

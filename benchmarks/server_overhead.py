"""What the server takes beside the drawing: a picture through it and through the engine, and how soon it answers.

    python benchmarks/server_overhead.py --pictures 20

The engine draws in this process and the server in its own, in turn, the same request each time, by the built-in model
and with one thread each. A picture's overhead is the server's whole answer less the engine's own time, as medians.
Health is asked twenty times a second while the server draws.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
ASKED = {"prompt": "a red apple", "width": 64, "height": 64, "steps": 2, "seed": 7, "sampler_name": "Euler"}
#: Milliseconds that are allowed.
OVERHEAD, HEALTH_P99 = 20.0, 50.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server's address."""
    command = [sys.executable, str(ROOT / "webui.py"), "--port", "0", "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.terminate()


def pictures(address: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds by the server and by the engine, in turn; the first of each, which loads the model, is not counted."""
    sys.path.insert(0, str(ROOT / "src"))
    from sfumato import Studio, Txt2ImgRequest

    studio = Studio(device="cpu", threads=1)
    wanted = Txt2ImgRequest(**{{"sampler_name": "sampler"}.get(name, name): value for name, value in ASKED.items()})
    by_server, by_engine = [], []
    with httpx.Client(base_url=address, timeout=600) as client:
        for _ in range(count + 1):
            began = time.perf_counter()
            client.post("/sdapi/v1/txt2img", json=ASKED).raise_for_status()
            by_server.append(time.perf_counter() - began)
            began = time.perf_counter()
            studio.generate(wanted)
            by_engine.append(time.perf_counter() - began)
    return by_server[1:], by_engine[1:]


def health(address: str, seconds: float) -> list[float]:
    """Seconds of each answer while a long job is drawn."""
    taken = []
    with httpx.Client(base_url=address, timeout=60) as client:
        long = {"url": "/sdapi/v1/txt2img", "json": {**ASKED, "steps": 999}, "timeout": 600}
        drawing = threading.Thread(target=client.post, kwargs=long)
        drawing.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            client.get("/api/v1/health").raise_for_status()
            taken.append(time.perf_counter() - began)
            time.sleep(0.05)
        client.post("/sdapi/v1/interrupt").raise_for_status()
        drawing.join()
    return taken


def main() -> None:
    """Prints a line of JSON, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30, help="how long to ask for health")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address:
        by_server, by_engine = pictures(address, given.pictures)
        answers = sorted(health(address, given.seconds))
    server, engine = (1000 * statistics.median(taken) for taken in (by_server, by_engine))
    p99 = 1000 * answers[int(0.99 * (len(answers) - 1))]
    told = {"server": server, "engine": engine, "overhead": server - engine}
    told |= {"health_median": 1000 * statistics.median(answers), "health_p99": p99}
    print(json.dumps({name: round(value, 1) for name, value in told.items()} | {"answers": len(answers)}))
    print(f"allowed: overhead {OVERHEAD} ms, health p99 {HEALTH_P99} ms", file=sys.stderr)


if __name__ == "__main__":
    main()

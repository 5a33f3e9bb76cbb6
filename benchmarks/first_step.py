"""Seconds from the start of a process until the network takes its first step, for each of the files.

    python benchmarks/make_sd15.py --output /tmp/sd15
    python benchmarks/first_step.py /tmp/sd15/sd15-random.safetensors /tmp/sd15/sd15-random.ckpt

A ``.ckpt`` that is not there is made of the ``.safetensors`` file of its name. Each file is read once before, so that
it is in the page cache, and its hash is known after the first of the ``--rounds``; the least is what counts.
``processor`` is user and system time of all threads, which says more where the machine has other work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

_CODE = """
import json, os, sys, time
began = float(sys.argv.pop(1))
from sfumato.cli import txt2img_main

def first(*_):
    seconds = time.monotonic() - began
    print(json.dumps({"seconds": round(seconds, 2), "processor": round(sum(os.times()[:2]), 2)}), flush=True)
    os._exit(0)

import sfumato.families.base as base
base.Networks.predict = first
raise SystemExit(txt2img_main(sys.argv[1:]))
"""


def measure(file: Path, rounds: int, more: list[str]) -> list[dict[str, float]]:
    """What each round took."""
    if not file.exists():
        torch.save({"state_dict": load_file(file.with_suffix(".safetensors"))}, file)
    with file.open("rb") as pages:
        while pages.read(2**24):
            pass
    return [_start(["--prompt", "a red apple", "--ckpt", str(file), *more]) for _ in range(rounds)]


def _start(flags: list[str]) -> dict[str, float]:
    # the clock starts here: a process's age by psutil counts from the boot, which the kernel tells in whole seconds
    command = [sys.executable, "-c", _CODE, str(time.monotonic()), *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> None:
    """Prints an object for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for txt2img, as the last")
    wishes = parser.parse_args()
    for file in wishes.files:
        found = measure(file, wishes.rounds, wishes.flags)
        least = {key: min(one[key] for one in found) for key in ("seconds", "processor")}
        print(json.dumps({"file": file.name, **least, "rounds": found}), flush=True)


if __name__ == "__main__":
    main()

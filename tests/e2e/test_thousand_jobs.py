"""The run of ``benchmarks/thousand_jobs.py``, short: real processes, killed while they draw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "thousand_jobs.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="each client has a loopback address of its own")
def test_kills_lose_no_job_and_double_none(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--jobs", "30", "--clients", "5", "--kills", "2", "--seed", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=850)

    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["faults"]) == (0, [])
    assert sum(told["kills"].values()) == 2
    assert told["attempts"] > 30

"""Feed the readers of model files' headers with what a fuzzer makes up.

    pip install atheris
    python benchmarks/fuzz_headers.py tests/corpus -max_total_time=600 -rss_limit_mb=400 -timeout=2

A header is read or refused with a CheckpointError; anything else, more than 400 MB or more than 2 seconds is a finding,
and libFuzzer writes the input beside itself. New inputs that reach new code go to the corpus.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sfumato.weights"]):
    from sfumato.weights import survey

_FILE = Path(tempfile.mkdtemp()) / "model"


def read_one(data: bytes) -> None:
    """One file with these bytes."""
    _FILE.write_bytes(data)
    if not survey.survey(_FILE).problem.isprintable():
        raise ValueError("a message has control characters in it")


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()

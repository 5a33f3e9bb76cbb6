"""What the fuzzer of headers found to reach different code: see ``benchmarks/fuzz_headers.py``."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from sfumato.weights.survey import survey

CORPUS = Path(__file__).parents[2] / "corpus"


def test_every_input_is_read_or_refused(tmp_path: Path) -> None:
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) > 50
    for path in inputs:
        shutil.copy(path, tmp_path / "model")
        start = time.process_time()

        found = survey(tmp_path / "model")

        assert found.problem, path.name
        assert found.problem.isprintable(), path.name
        assert time.process_time() - start < 2, path.name

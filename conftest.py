"""The suite runs one test a core, so each test takes one thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

#: They made the frozen numbers, with packages that the tests do without.
collect_ignore_glob = ["tests/golden/make_*.py"]

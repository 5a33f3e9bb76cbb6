"""More than one machine, played by a local cluster: a lost node loses no job, and changes no bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.engine.studio import Studio
from sfumato.errors import DeviceError

PROGRAM = Path(__file__).parent / "ray_nodes.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lost_node_loses_no_job_and_changes_no_bit(tiny_model: Path, clean: Path) -> None:
    pytest.importorskip("ray")
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tiny_model)], cwd=clean, env=environment, capture_output=True, text=True,
        timeout=800,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "{'done': 30} ['WorkerLost']" in done.stdout
    sys.path.insert(0, str(PROGRAM.parent))
    import ray_nodes
    from PIL import Image

    studio = Studio(tiny_model, device="cpu", threads=1)
    for seed in range(ray_nodes.JOBS):
        alone = studio.generate(ray_nodes.request(seed)).images[0]
        with Image.open(clean / "outputs" / f"{seed}.png") as image:
            assert image.tobytes() == alone.tobytes()
    assert len(list((clean / "outputs").iterdir())) == ray_nodes.JOBS


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato.app import tools
    from sfumato.config import Settings
    from sfumato.jobs import ray_worker

    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(DeviceError, match=r"pip install 'sfumato\[ray\]'"),
        ray_worker.open_cluster("auto", tools(Settings())),
    ):
        pass

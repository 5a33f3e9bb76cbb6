"""A program: 30 jobs on a local cluster of three nodes, one of which is lost on the way.

    python ray_nodes.py MODEL

Draws into ``outputs`` of the current folder, and prints how many jobs each state has.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from ray.cluster_utils import Cluster

from sfumato.app import running_jobs
from sfumato.config import Settings
from sfumato.jobs.states import State
from sfumato.request import Txt2ImgRequest

JOBS = 30
SETTINGS = {"device": "cpu", "threads": 1, "jobs": {"checkpoint_steps": 2}, "output": {"pattern": "[seed]"}}


def settings(model: str) -> Settings:
    return Settings.model_validate({**SETTINGS, "model": {"type": model}})


def request(seed: int) -> Txt2ImgRequest:
    return Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=20, seed=seed, sampler="DPM++ 2M SDE")


def main(model: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    try:
        with running_jobs(settings(model), ray=cluster.address) as jobs:
            for seed in range(JOBS):
                jobs.queue.submit(request(seed))
            wait(lambda: sum(each.state == "drawing" for each in jobs.crew.workers()) == 3)
            cluster.remove_node(nodes[0], allow_graceful=False)
            wait(lambda: jobs.queue.counts()[State.DONE] + jobs.queue.counts()[State.FAILED] == JOBS)
            lost = [each.cause.kind for each in jobs.crew.workers() if each.cause is not None]
            counts = {state.value: count for state, count in jobs.queue.counts().items() if count}
            sys.stdout.write(f"{counts} {lost}\n")
    finally:
        cluster.shutdown()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])

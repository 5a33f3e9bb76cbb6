"""The queue: what was accepted is kept, given out once, and told to whoever listens."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from sfumato.errors import IdempotencyError, JobError, QueueFullError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Asked, Cause, Progress
from sfumato.request import Txt2ImgRequest, UpscaleRequest

CAT, DOG = Txt2ImgRequest(prompt="a cat"), Txt2ImgRequest(prompt="a dog", seed=0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = JobQueue(tmp_path / "queue")
    yield made
    made.close()


def test_a_job_has_a_seed_from_the_beginning(queue: JobQueue) -> None:
    seed = queue.submit(CAT).request.seed

    assert seed is not None
    assert queue.submit(DOG).request.seed == 0
    assert queue.list()[0].request == Txt2ImgRequest(prompt="a cat", seed=seed)


def test_a_key_makes_one_job_of_many_submits(queue: JobQueue) -> None:
    jobs: list[str] = []
    threads = [threading.Thread(target=lambda: jobs.append(queue.submit(CAT, key="k").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(jobs) == 8
    assert set(jobs) == {queue.list()[0].id}
    assert len(queue.list()) == 1
    found = queue.find("k")
    assert found is not None
    assert found.id == jobs[0]
    with pytest.raises(IdempotencyError, match="'k' was used before"):
        queue.submit(DOG, key="k")


def test_those_that_wait_are_told_in_their_order(queue: JobQueue) -> None:
    first, second, third, over = (queue.submit(CAT).id for _ in range(4))
    queue.pause(second)
    queue.cancel(over)
    queue.move(third, before=first)

    assert queue.waiting() == (third, first, second)
    claimed = queue.claim()
    assert claimed is not None
    assert (claimed.id, queue.waiting()) == (third, (first, second))


def test_a_client_has_its_limit_and_others_theirs(queue: JobQueue) -> None:
    for _ in range(2):
        job = queue.submit(CAT, client="a", limit=2)
    with pytest.raises(QueueFullError, match="2 jobs"):
        queue.submit(CAT, client="a", limit=2)

    queue.submit(CAT, client="b", limit=2)
    queue.cancel(job.id)
    queue.submit(CAT, client="a", limit=2)

    assert queue.counts("a") == {**dict.fromkeys(State, 0), State.QUEUED: 2, State.CANCELLED: 1}
    assert len(queue.list((State.QUEUED,), client="a")) == 2


def test_lists_come_in_parts_and_both_ways(queue: JobQueue) -> None:
    ids = [queue.submit(CAT).id for _ in range(5)]

    assert [job.id for job in queue.list(limit=2, offset=1)] == ids[1:3]
    assert [job.id for job in queue.list(limit=2, newest_first=True)] == ids[:2:-1]
    with pytest.raises(UnknownJobError, match="no job 'x'"):
        queue.get("x")


def test_a_picture_of_a_request_stays_as_long_as_a_job_has_it(queue: JobQueue) -> None:
    image = Image.new("RGB", (4, 4), "red")
    first, second = (queue.submit(CAT, model=None) for _ in range(2))
    with queue._store.transaction() as connection:
        from sfumato.jobs import wire

        text = wire.dump({"picture": image}, queue.folder / "pictures")
        connection.execute("UPDATE jobs SET request = ?", (text,))
    for job in (first, second):
        queue.cancel(job.id)

    queue.forget(first.id)
    assert queue.get(second.id).request["picture"].tobytes() == image.tobytes()
    queue.forget(second.id)
    assert list((queue.folder / "pictures").iterdir()) == []


def test_a_checkpoint_is_kept_until_the_end(queue: JobQueue) -> None:
    queue.submit(CAT)
    job = queue.claim()
    assert job is not None
    queue.keep(job, b"one", 5, 20)
    queue.pause(job.id)
    queue.keep(job, b"two", 6, 20)

    assert queue.checkpoint(job) == b"two"
    assert queue.get(job.id).progress == Progress(step=6, steps=20)

    queue.cancel(job.id)
    queue.keep(job, b"three", 7, 20)
    assert queue.checkpoint(job) is None


def test_interruptions_count_until_the_job_gets_further(queue: JobQueue) -> None:
    queue.submit(CAT)
    for count in (1, 2):
        job = queue.claim()
        assert job is not None
        assert queue.interrupt(job, counted=True)
        assert queue.interruptions(job) == count
    job = queue.claim()
    assert job is not None
    assert job.attempt == 3
    queue.keep(job, b"", 5, 20)

    assert queue.interruptions(job) == 0


def test_progress_is_told_and_only_the_newest_waits(queue: JobQueue) -> None:
    queue.submit(CAT)
    job = queue.claim()
    assert job is not None
    with queue.subscribe() as subscription:
        for step in (1, 2, 3):
            queue.report(job, Progress(step=step, steps=4, eta=4.0 - step))

        told = subscription.take(0)

    assert [(event.kind, event.progress) for event in told] == [("progress", Progress(step=3, steps=4, eta=1.0))]
    with queue.subscribe(since=told[0].number, job=job.id) as again:
        assert [event.progress for event in again.take(0)] == [Progress(step=3, steps=4, eta=1.0)]
    queue.fail(job, Cause(kind="NumericError", message="NaN"))
    assert queue.get(job.id).progress.step == 0


def test_who_comes_back_hears_what_was_missed(queue: JobQueue, tmp_path: Path) -> None:
    with queue.subscribe(since=0) as subscription:
        first = queue.submit(CAT)
        seen = subscription.take(1)[-1].number
    second = queue.submit(CAT)
    queue.close()
    again = JobQueue(tmp_path / "queue")

    with again.subscribe(since=seen) as subscription, again.subscribe(since=0, job=first.id) as of_first:
        assert [event.job for event in subscription.take(0)] == [second.id]
        assert [event.job for event in of_first.take(0)] == [first.id]
    again.close()


def test_a_wait_ends_with_an_event_a_timeout_or_the_end(queue: JobQueue) -> None:
    woken = threading.Event()
    subscription = queue.subscribe(wake=woken.set)

    assert subscription.take(0.05) == []
    threading.Timer(0.05, queue.submit, [CAT]).start()
    assert len(subscription.take(10)) == 1
    assert woken.is_set()
    threading.Timer(0.05, subscription.close).start()
    assert subscription.take() == []
    assert list(subscription) == []


def test_another_process_is_heard(queue: JobQueue) -> None:
    with queue.subscribe() as subscription:
        other = JobQueue(queue.folder)
        job = other.submit(CAT)
        other.close()

        began = time.monotonic()
        assert [event.job for event in subscription.take(10)] == [job.id]
        assert time.monotonic() - began < 5


def test_a_job_of_another_version_is_listed_but_can_not_be_read(queue: JobQueue) -> None:
    job = queue.submit(CAT)
    with queue._store.transaction() as connection:
        connection.execute("UPDATE jobs SET request = ?", ('{"$type": "Hologram"}',))

    assert queue.get(job.id).request is None


def test_a_database_of_a_newer_version_or_of_no_kind_is_refused(tmp_path: Path) -> None:
    JobQueue(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "queue.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JobError, match="newer version"):
        JobQueue(tmp_path)

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "queue.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(JobError, match="can't be opened"):
        JobQueue(tmp_path / "other")


def test_a_picture_waits_for_the_disk_when_it_must_not_be_lost_and_no_oftener(queue: JobQueue) -> None:
    levels: list[str] = []
    queue._store._connection.set_trace_callback(
        lambda line: levels.append(line) if line.startswith(("PRAGMA synchronous", "COMMIT")) else None
    )

    queue.submit(CAT)
    job = queue.claim()
    assert job is not None
    assert queue.ended(job.id) is None
    queue.finish(job, [])
    done = queue.ended(job.id)
    assert done is not None
    assert done.state is State.DONE
    queue.forget(job.id, synced=False)

    quick = ["PRAGMA synchronous = NORMAL", "COMMIT", "PRAGMA synchronous = FULL"]
    assert levels == ["COMMIT", *quick, "COMMIT", *quick]
    with pytest.raises(UnknownJobError):
        queue.ended(job.id)


SUBMITTER = """
import sys
from pathlib import Path
from sfumato.jobs.queue import JobQueue
from sfumato.request import Txt2ImgRequest, UpscaleRequest
queue = JobQueue(Path(sys.argv[1]))
number = 0
while True:
    job = queue.submit(Txt2ImgRequest(prompt=f"{number}"), key=f"{sys.argv[2]}-{number}")
    print(job.id, flush=True)
    number += 1
"""


def test_what_was_accepted_outlives_kills_in_the_middle_of_submits(tmp_path: Path) -> None:
    accepted: list[str] = []
    for turn in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, str(tmp_path), str(turn)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        accepted += [process.stdout.readline().strip() for _ in range(3 + 7 * turn)]
        process.kill()
        accepted += process.stdout.read().split()
        process.stdout.close()
        process.wait()

    queue = JobQueue(tmp_path)
    jobs = {job.id: job for job in queue.list(limit=100_000)}
    with queue.subscribe(since=0) as subscription:
        told = [event.job for event in subscription.take(0)]
    assert queue._store.read("PRAGMA integrity_check")[0][0] == "ok"
    queue.close()

    assert set(accepted) <= set(jobs)
    assert len(jobs) <= len(accepted) + 4  # one of each turn may have been stored and not yet said
    assert told == list(jobs)
    assert all(job.request.prompt == job.key.partition("-")[2] for job in jobs.values())


def test_a_glance_reads_no_picture(queue: JobQueue, tmp_path: Path) -> None:
    large = queue.submit(UpscaleRequest(picture=Image.new("RGB", (4, 4)), width=8, height=8, prompt="a sea"))
    cat = queue.submit(CAT)
    for path in (tmp_path / "queue" / "pictures").iterdir():
        path.unlink()

    seen = queue.glance((cat.id, "none", large.id))

    assert {id: job.request for id, job in seen.items()} == {
        cat.id: Asked(kind="Txt2ImgRequest", prompt="a cat"),
        large.id: Asked(kind="UpscaleRequest", prompt="a sea"),
    }
    assert [job.request for job in queue.list(whole=False)] == [seen[large.id].request, seen[cat.id].request]
    assert queue.get(large.id, whole=False) == seen[large.id]
    assert queue.get(large.id).request is None
    assert queue.glance(()) == {}

"""The table of moves: each state of a job is reached, left and ended as it says, and in no other way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from sfumato.errors import JobStateError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import MOVES, Move, State, after
from sfumato.jobs.types import Cause, Job
from sfumato.request import Txt2ImgRequest

CAUSE = Cause(kind="NumericError", message="NaN")


def test_every_state_but_the_first_is_reached_and_every_end_is_an_end() -> None:
    reached = {state for moves in MOVES.values() for state in moves.values()}

    assert reached | {State.QUEUED} == set(State)
    assert set(MOVES) == set(Move)
    assert not any(State.DONE in moves for moves in MOVES.values())


def test_a_move_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(JobStateError, match="job 7 is paused: no retry from there; possible: resume, cancel"):
        after("7", State.PAUSED, Move.RETRY)


class Moves(RuleBasedStateMachine):
    """Any calls in any order, against a model of a few lines: a list of jobs in order, and what state each has."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.queue = JobQueue(Path(self.folder.name))
        self.states: dict[str, State] = {}
        self.order: list[str] = []
        self.claimed: dict[str, Job] = {}
        self.events: list[tuple[str, State | None]] = []
        self.held = False

    def teardown(self) -> None:
        self.queue.close()
        self.folder.cleanup()

    def _set(self, job: str, state: State) -> None:
        self.states[job] = state
        self.events.append((job, state))

    @rule(target=jobs)
    def submit(self) -> str:
        job = self.queue.submit(Txt2ImgRequest(prompt="a cat"))
        self.order.append(job.id)
        self._set(job.id, State.QUEUED)
        return job.id

    @rule(job=jobs, move=st.sampled_from([Move.CANCEL, Move.PAUSE, Move.RESUME, Move.RETRY]))
    def ask(self, job: str, move: Move) -> None:
        call = getattr(self.queue, move.value)
        if self.states[job] in MOVES[move]:
            assert call(job).state is MOVES[move][self.states[job]]
            self._set(job, MOVES[move][self.states[job]])
        else:
            with pytest.raises(JobStateError):
                call(job)

    @rule()
    def claim(self) -> None:
        waiting = [job for job in self.order if self.states[job] is State.QUEUED]
        claimed = self.queue.claim()
        if self.held or not waiting:
            assert claimed is None
        else:
            assert claimed is not None
            assert claimed.id == waiting[0]
            self.claimed[claimed.id] = claimed
            self._set(claimed.id, State.RUNNING)

    @rule(data=st.data(), move=st.sampled_from([Move.FINISH, Move.FAIL, Move.INTERRUPT]))
    def end(self, data: st.DataObject, move: Move) -> None:
        """A worker's word counts only while the job is as the worker took it."""
        if not self.claimed:
            return
        job = self.claimed[data.draw(st.sampled_from(list(self.claimed)))]
        calls = {
            Move.FINISH: lambda: self.queue.finish(job, []),
            Move.FAIL: lambda: self.queue.fail(job, CAUSE),
            Move.INTERRUPT: lambda: self.queue.interrupt(job, counted=True),
        }
        current = self.states.get(job.id) is State.RUNNING
        assert calls[move]() is current
        if current:
            self._set(job.id, MOVES[move][State.RUNNING])

    @rule(job=jobs, before=st.none() | jobs)
    def move(self, job: str, before: str | None) -> None:
        if {self.states[each] for each in (job, before or job)} <= {State.QUEUED, State.PAUSED}:
            self.queue.move(job, before=before)
            if before != job:
                # The places of the waiting ones among all others stay: only who has which changes.
                waiting = [each for each in self.order if self.states[each] in (State.QUEUED, State.PAUSED)]
                order = [each for each in waiting if each != job]
                order.insert(len(order) if before is None else order.index(before), job)
                new = iter(order)
                self.order = [next(new) if each in waiting else each for each in self.order]
        else:
            with pytest.raises(JobStateError):
                self.queue.move(job, before=before)

    @rule(target=jobs, job=consumes(jobs))
    def forget(self, job: str) -> object:
        if not self.states[job].ended:
            with pytest.raises(JobStateError):
                self.queue.forget(job)
            return multiple(job)
        self.queue.forget(job)
        with pytest.raises(UnknownJobError):
            self.queue.get(job)
        self.order.remove(job)
        del self.states[job]
        self.claimed.pop(job, None)
        self.events = [each for each in self.events if each[0] != job]
        return multiple()

    @rule()
    def hold_or_release(self) -> None:
        self.held = not self.held
        self.queue.hold(self.held)

    @rule()
    def open_again(self) -> None:
        self.queue.close()
        self.queue = JobQueue(Path(self.folder.name))

    @invariant()
    def the_queue_is_as_the_model(self) -> None:
        assert [(job.id, job.state) for job in self.queue.list()] == [(job, self.states[job]) for job in self.order]
        with self.queue.subscribe(since=0) as subscription:
            told = [(event.job, event.state) for event in subscription.take(0) if event.kind == "state"]
        assert told == self.events


Moves.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestMoves = Moves.TestCase

"""The states of a job and its legal moves: one table, which the queue asks before every change."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from sfumato.errors import JobStateError


class State(str, Enum):
    """Where a job is. ``done``, ``failed`` and ``cancelled`` are ends; a retry leads out of the last two."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class Move(str, Enum):
    """What can happen to a job."""

    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    #: The worker was lost or the server stops; the job waits again and goes on from its last checkpoint.
    INTERRUPT = "interrupt"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


_Q, _R, _P = State.QUEUED, State.RUNNING, State.PAUSED

MOVES: Mapping[Move, Mapping[State, State]] = {
    Move.START: {_Q: State.RUNNING},
    Move.FINISH: {_R: State.DONE},
    Move.FAIL: {_R: State.FAILED},
    Move.INTERRUPT: {_R: State.QUEUED},
    Move.PAUSE: {_Q: State.PAUSED, _R: State.PAUSED},
    Move.RESUME: {_P: State.QUEUED},
    Move.CANCEL: {_Q: State.CANCELLED, _R: State.CANCELLED, _P: State.CANCELLED},
    Move.RETRY: {State.FAILED: State.QUEUED, State.CANCELLED: State.QUEUED},
}


def after(job: str, state: State, move: Move) -> State:
    """The state that a move leads to.

    Raises:
        JobStateError: the move is not legal from ``state``; the message names those that are.
    """
    if state in MOVES[move]:
        return MOVES[move][state]
    legal = [each.value for each in MOVES if state in MOVES[each]]
    raise JobStateError(
        f"job {job} is {state.value}: no {move.value} from there; possible: {', '.join(legal) or 'nothing more'}."
    )

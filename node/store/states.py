"""The states of a run and which may follow which; the database moves a run along these lines only."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run is."""

    PROPOSED = "proposed"  # every party is asked
    APPROVED = "approved"  # every party has signed
    ESTABLISHING = "establishing"  # run processes attach and shake hands
    RUNNING = "running"
    FINISHING = "finishing"  # some parties have ended well, others not yet
    FINISHED = "finished"
    REFUSED = "refused"  # a party's policy or its data said no, before the run or within it
    CANCELLED = "cancelled"  # an operator ended it
    FAILED = "failed"


_ALWAYS = {State.REFUSED, State.CANCELLED, State.FAILED}
NEXT: dict[State, set[State]] = {
    State.PROPOSED: {State.APPROVED, *_ALWAYS},
    State.APPROVED: {State.ESTABLISHING, *_ALWAYS},
    State.ESTABLISHING: {State.RUNNING, *_ALWAYS},
    State.RUNNING: {State.FINISHING, *_ALWAYS},
    State.FINISHING: {State.FINISHED, *_ALWAYS},
}
LIVE = frozenset(NEXT)


def before(state: State) -> frozenset[State]:
    """Return the states that may come right before this one."""
    return frozenset(earlier for earlier, later in NEXT.items() if state in later)

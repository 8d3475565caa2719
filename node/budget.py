"""What each peer brought to match within 24 hours, kept in a file that outlives run processes and the worker.

Each row that is matched is a guess at an id, and runs on changed sets tell what the changes did; so a policy may limit
both (`[psi]` in policy.toml). A run counts from its greeting on, however it ends. Run processes of one worker share the
file; SQLite lets one of them count at a time. A file that cannot be read stops matching: nobody gains by spoiling it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from engine.errors import Misuse
from engine.runtime.policy import Matching

DAY = 86_400.0  # seconds
_PATIENCE = 30.0  # seconds that one run process waits for another to have counted


class DailyCount:
    """Counts what peers bring against the limits of a policy; see `Policy.counting`.

    Args:
        file: where the counts are kept; made, for its owner alone, if there is none.
        owner: the organisation, named when it refuses.
        now: the time in seconds, as `time.time`.
    """

    def __init__(self, file: Path, owner: str, limits: Matching, now: Callable[[], float] = time.time) -> None:
        self._file, self._owner, self._limits, self._now = file, owner, limits, now

    def __call__(self, peers: Mapping[str, int]) -> None:
        """Count a run to which each peer brings so many rows.

        Raises:
            Refused: more than is left to a peer; then nothing is counted.
            Misuse: the file cannot be used.
        """
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            with closing(sqlite3.connect(self._file, timeout=_PATIENCE, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")  # closing without COMMIT takes everything back
                self._count(database, peers)
                database.execute("COMMIT")
        except sqlite3.Error as error:
            raise Misuse(
                f"what peers have matched cannot be counted ({type(error).__name__} in {self._file.name} at "
                f"{self._owner}): free its disk, or remove the file to count from nothing"
            ) from None

    def _count(self, database: sqlite3.Connection, peers: Mapping[str, int]) -> None:
        now = self._now()
        database.execute("CREATE TABLE IF NOT EXISTS matched (at REAL, peer TEXT, rows INTEGER)")
        database.execute("DELETE FROM matched WHERE at <= ?", (now - DAY,))
        for peer, rows in peers.items():
            known = database.execute("SELECT rows FROM matched WHERE peer = ?", (peer,)).fetchall()
            self._limits.check(self._owner, peer, rows + sum(before for (before,) in known), 1 + len(known))
            database.execute("INSERT INTO matched VALUES (?, ?, ?)", (now, peer, rows))

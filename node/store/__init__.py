"""The coordinator's records: what was submitted, what became of it, what each party said it sent. No row of anybody."""

from node.store.database import Database, Report
from node.store.states import LIVE, State

__all__ = ["LIVE", "Database", "Report", "State"]

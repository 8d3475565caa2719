"""All parties in one process, for notebooks, tests and `synergos simulate`: the roles of the nodes, a thread each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import Misuse
from engine.runtime import local
from engine.runtime.party import Party, Progress, silent
from engine.runtime.policy import Policy

if TYPE_CHECKING:
    import pandas as pd

    from engine.data import Table
    from engine.vertical.pipeline import Estimator, ModelPart

R = TypeVar("R")


def federation(
    *,
    id: str | Sequence[str],
    label: tuple[str, str],
    min_intersection: int = 1,
    progress: Callable[[Progress], None] = silent,
    **tables: pd.DataFrame | str,
) -> Federation:
    """Bring all parties together in this process.

    Args:
        id: the column that identifies a row, or several that do so together; the same in every table.
        label: (party, column).
        min_intersection: fewer shared rows, and nothing is released.
        progress: called with each step of each party.
        tables: party name -> data frame, or the path or URL of a CSV or Parquet file.

    Raises:
        Misuse: one line for everything that is wrong with the tables.
    """
    holder, column = label
    if holder not in tables or len(tables) < 2:
        raise Misuse(f"a federation needs at least two tables, one of them of the label holder {holder!r}")
    return Federation(tables, id, holder, column, min_intersection, progress)


class Federation:
    """Parties in one process; `fit` trains a joint model of all of them, `ledger` says what they sent each other."""

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame | str],
        id: str | Sequence[str],
        label_holder: str,
        label: str,
        min_intersection: int,
        progress: Callable[[Progress], None],
    ) -> None:
        self.parties = (label_holder, *(name for name in tables if name != label_holder))
        self._id = id
        self._label = {label_holder: label}
        self._min_intersection = min_intersection
        self._progress = progress
        self._ledgers: list[str] = []
        self._tables = self.read(tables)

    def __enter__(self) -> Federation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tables = {}

    def read(self, tables: Mapping[str, pd.DataFrame | str], labelled: bool = True) -> dict[str, Table]:
        """Read one table per party; Misuse lists everything that is wrong."""
        from engine.data import read_table

        if set(tables) != set(self.parties):
            raise Misuse(f"give one table for each party: {', '.join(self.parties)}")
        read, found = {}, []
        for name in self.parties:
            label = self._label.get(name) if labelled else None
            try:
                read[name] = read_table(tables[name], party=name, id=self._id, label=label, training=labelled)
            except Misuse as error:
                found.append(str(error))
        if found:
            raise Misuse("\n".join(found))
        return read

    def play(self, role: Callable[[Party], R]) -> dict[str, R]:
        """Run one role at every party over fresh links; return what each party's role returned."""
        from engine.psi import align
        from engine.vertical import glm

        parties, results = run_local(
            self.parties, (*align.MESSAGES, *glm.MESSAGES), lambda party: role(party), progress=self._progress
        )
        self._ledgers += [str(party.ledger) for party in parties.values()]
        return results

    def align(self, tables: Mapping[str, Table]) -> dict[str, Table]:
        """Return each party's rows that all parties hold, in one order."""
        from engine.vertical import pipeline

        def role(party: Party) -> Table:
            return pipeline.align_parts(
                party,
                {"rows": tables[party.name]},
                protocol="ecdh",
                min_intersection=self._min_intersection,
                context=b"engine.federation",
            )["rows"]

        return self.play(role)

    def fit(self, estimator: Estimator) -> JointModel:
        """Align all rows, train the estimator on them, and return the joint model."""
        from engine.vertical import pipeline

        aligned = self.align(self._tables)
        return JointModel(self.play(lambda party: pipeline.train(party, estimator, aligned[party.name])))

    def ledger(self) -> str:
        """Return what every party sent and received so far, and how it was protected."""
        return "\n".join(self._ledgers)


class JointModel:
    """The parts of all parties, side by side only because all parties are in one process here."""

    def __init__(self, parts: Mapping[str, ModelPart]) -> None:
        self.parts = dict(parts)

    def evaluate(
        self, federation: Federation, metrics: Sequence[str] = ("auc", "ks", "log_loss"), **tables: Any
    ) -> dict[str, float]:
        """Align new labelled tables, one per party, score them together, and measure the scores at the label holder."""
        from engine.data import evaluate

        aligned = federation.align(federation.read(tables))
        first = aligned[federation.parties[0]]
        assert first.label is not None
        return evaluate(metrics, first.label, self._scores(federation, aligned))

    def predict(self, federation: Federation, **tables: Any) -> pd.Series[float]:
        """Align new tables, one per party, and score them together: probabilities by id, as the label holder sees."""
        import pandas as pd

        aligned = federation.align(federation.read(tables, labelled=False))
        ids = aligned[federation.parties[0]].ids
        return pd.Series(self._scores(federation, aligned), index=pd.Index(ids, name="id"), name="score")

    def _scores(self, federation: Federation, aligned: Mapping[str, Table]) -> Any:
        played = federation.play(lambda party: self.parts[party.name].scores(party, aligned[party.name]))
        return played[federation.parties[0]]


def run_local(
    names: Sequence[str],
    messages: Sequence[type[Any]],
    role: Callable[[Party], R],
    *,
    policies: Mapping[str, Policy] | None = None,
    progress: Callable[[Progress], None] = silent,
) -> tuple[dict[str, Party], dict[str, R]]:
    """Make a party of each name over memory links, run the role at each, return the parties and their results."""
    network = local.Network(names)
    parties = {
        name: Party(name, names, network.links(name), messages, policy=(policies or {}).get(name), progress=progress)
        for name in names
    }
    results = local.run(network, {name: lambda party=party: role(party) for name, party in parties.items()})  # type: ignore[misc]
    return parties, results

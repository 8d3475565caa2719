"""The benchmark: what a row says, who is asked how often, and what is said where a peer or a suite is missing."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import __main__ as command
from bench import additive, figures, he, kernels, limits, peers, psi, scaling, table, transport, vertical
from bench import contest as contests
from bench.contest import Contest
from bench.peers import Elsewhere, Peer, Unavailable
from engine.kernels import tiers
from engine.vertical import LogisticRegression

KEYS = ["suite", "case", "size", "ours", "unit", "peer", "peer_value", "ratio", "plain", "limit"]


@pytest.fixture(autouse=True)
def no_peers(tmp_path, monkeypatch):
    """A machine on which no peer is installed."""
    monkeypatch.setattr(peers, "FOLDER", tmp_path / "peers")
    monkeypatch.setenv("ENGINE_KERNELS", "reference")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


class Fake:
    """A peer that answers with these figures in turn, or is missing."""

    name = "fake 1.0"
    figures = ("cpu",)

    def __init__(self, *answers: float) -> None:
        self.answers = iter(answers)
        self.asked = 0

    def ask(self) -> dict[str, float]:
        self.asked += 1
        if (figure := next(self.answers, None)) is None:
            raise Unavailable("not here")
        return {"cpu": figure}


def contest(ours: Fake, *others: Fake) -> Contest:
    cases = {"cpu": ("work", "s"), "bytes": ("work bytes", "MB")}
    return Contest(
        "none",
        "1",
        cases,
        lambda: {**ours.ask(), "bytes": 7.0},
        others,
        lambda: {"cpu": 0.123456},
        lambda: {"cpu": 1.5},
    )


def test_rows_hold_medians_and_say_how_much_dearer_the_peer_is():
    cpu, size = contest(Fake(3, 1, 2), Fake(9, 8, 7)).run(3)
    assert (cpu.ours, cpu.peer_value, cpu.ratio, cpu.plain) == (2, 8, 4, 0.1235)
    assert (size.ours, size.peer, size.ratio, size.plain) == (7, None, None, None)


def test_a_peer_that_is_missing_is_a_row_that_says_so_and_is_not_asked_again():
    missing, there = Fake(), Fake(4, 4, 4)
    first, second, _ = contest(Fake(2, 2, 2), missing, there).run(3)
    assert (first.peer, first.peer_value, first.ratio, first.ours) == ("fake 1.0: not here", None, None, 2)
    assert (second.peer, second.peer_value, second.ratio) == ("fake 1.0", 4, 2)
    assert missing.asked == 1


def test_a_peer_that_fails_later_keeps_no_figures():
    row, _ = contest(Fake(2, 2), Fake(4)).run(2)
    assert (row.peer, row.peer_value) == ("fake 1.0: not here", None)


def test_a_side_that_has_had_its_time_is_not_asked_again(monkeypatch):
    monkeypatch.setattr(contests, "PATIENCE", 0.0)
    ours = Fake(1, 2, 3)
    assert contest(ours).run(3)[0].ours == 1
    assert ours.asked == 1


@pytest.mark.parametrize(
    ("made", "cases"),
    [
        (lambda: psi.contest(20), {"ecdh", "ecdh bytes"}),
        (lambda: psi.both(20), {"align", "align bytes"}),
        (
            lambda: he.contest(5, 3, {**he.PRODUCT, **he.VALUES}),
            {"rlwe dot", "rlwe round trip", "rlwe round trip bytes", "rlwe encrypt", "rlwe decrypt"},
        ),
        (
            lambda: additive.paillier(2048, 2),
            {f"paillier-2048 {step}" for step in ("encrypt", "add", "times", "decrypt")},
        ),
        (lambda: additive.elgamal(40, 2, bits=12), {f"elgamal {step}" for step in ("encrypt", "sum", "decrypt")}),
        (lambda: kernels.elements("reference", 2), {"multiply reference", "hash_and_multiply reference"}),
        (
            lambda: kernels.residues("reference", 2048, 2),
            {f"{step} mod n^2, n of 2048 bits, reference" for step in ("multiply", "square")},
        ),
        (lambda: kernels.products("reference", 3, 2), {"ring matmul reference"}),
        (lambda: kernels.masking("reference", 100), {"mask and add uint32 reference"}),
        (
            lambda: vertical.logistic(60, 2, 2, LogisticRegression(max_iter=1)),
            {"logistic shared", "logistic shared bytes"},
        ),
        (lambda: transport.contest(2, 2), {"relay stream", "relay round trip"}),
    ],
    ids=[
        "psi",
        "align",
        "he",
        "paillier",
        "elgamal",
        "elements",
        "residues",
        "products",
        "masks",
        "vertical",
        "transport",
    ],
)
def test_every_suite_measures_ours_and_names_the_peers(made, cases, monkeypatch):
    if any("elgamal" in case for case in cases):
        monkeypatch.setenv("ENGINE_KERNELS", "portable")  # its tables take minutes in Python
    built = made()
    rows = built.run(1)
    assert {row.case for row in rows} == cases
    assert all(row.ours > 0 and row.peer_value is None and row.ratio is None for row in rows)
    named = {row.peer.split(": ")[0] for row in rows if row.peer}
    assert named == {peer.name for peer in built.peers}
    assert all("not installed" in row.peer for row in rows if row.peer)


def test_rlwe_native_is_measured_beside_seal(monkeypatch):
    monkeypatch.setenv("ENGINE_KERNELS", "portable")  # its transforms take most of a minute in Python
    rows = he.by_seal(5, 3).run(1)
    assert {row.case for row in rows} >= {"rlwe-native dot", "rlwe-native encrypt"}
    assert all(row.ours > 0 and row.peer_value > 0 and "SEAL" in row.peer for row in rows)


def test_peers_are_named_by_the_version_that_is_pinned(monkeypatch):
    monkeypatch.setenv("ENGINE_KERNELS", "portable")  # a contest makes its keys' tables
    listed = [
        *kernels.PEERS,
        *kernels.masking("reference", 1).peers,
        *kernels.residues("reference", 2048, 1).peers,
        *psi.contest(2).peers,
        *he.contest(2, 2, he.PRODUCT).peers,
        *additive.paillier(2048, 1).peers,
        *additive.elgamal(1, 1).peers,
        *transport.contest(1, 1).peers,
    ]
    for peer in listed:
        assert isinstance(peer, Peer)
        assert any(pin.split("==")[1] in peer.name for pin in peers.PINS[peer.environment])
        assert (Path(peers.__file__).parent / f"{peer.module}.py").exists()


def installed(name: str) -> None:
    """Let an environment of this name run this interpreter."""
    python = peers.FOLDER / name / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)


def test_an_installed_peer_is_asked_in_a_process_of_its_own():
    installed("crypto")
    assert Peer("X25519", "crypto", "x25519", ("multiply",)).ask()["multiply"] > 0
    with pytest.raises(Unavailable, match="no figure for bytes"):
        Peer("X25519", "crypto", "x25519", ("multiply", "bytes")).ask()
    with pytest.raises(Unavailable, match=r"took longer than 0\.01 s"):
        Peer("X25519", "crypto", "x25519", ("multiply",)).ask(timeout=0.01)


def test_a_peer_that_fails_says_why():
    installed("heu")
    with pytest.raises(Unavailable, match="No module named 'heu'"):
        Peer("HEU", "heu", "heu_paillier", ("dot",)).ask()


def test_a_peer_elsewhere_gives_what_was_published():
    with pytest.raises(Unavailable, match="published: 3 s on a large machine"):
        Elsewhere("Big 1", ("cpu",), "3 s on a large machine").ask()


@pytest.mark.parametrize(("suite", "what"), [("hee", "is no suite"), ("horizontal", "is not part of this release")])
def test_a_suite_that_is_missing_is_named_with_those_there_are(suite, what, capsys):
    assert command.main([suite]) == 2
    assert f"{suite} {what}: use one of {', '.join(command.SUITES)}" in capsys.readouterr().err


def test_the_command_prints_rows_and_writes_them_with_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(psi, "QUICK", (20,))
    out = tmp_path / "rows.json"
    assert command.main(["psi", "--quick", "--json", str(out)]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report = json.loads(out.read_text())
    assert report["rows"] == printed
    assert all(list(row) == KEYS for row in printed)
    assert report["cores"] == os.cpu_count()
    assert {"suite", "quick", "machine", "kernels", "date", "commit", "versions"} < report.keys()
    assert str(Path.home()) not in out.read_text()
    assert os.uname().nodename not in out.read_text()


def test_unknown_environments_of_peers_are_refused(capsys):
    from bench.peers import __main__ as install

    assert install.main(["nonsuch"]) == 2
    assert "use crypto, sodium" in capsys.readouterr().err


def test_the_readme_shows_the_newest_reports():
    text = table.README.read_text()
    assert table.written(text, table.newest(table.HERE / "results")) == text


def test_a_table_has_a_line_for_each_case_and_names_every_peer():
    rows = [asdict(row) for row in contest(Fake(2, 2), Fake(4, 4), Fake()).run(2)]
    report = {"suite": "none", "date": "2026-01-02T03:04", "commit": "abc", "machine": "one", "cores": 2, "load": 0.5}
    made = table.tables([{**report, "rows": rows}]).splitlines()
    assert made[0] == "**none** (2026-01-02, abc, one, 2 cores, load 0.5)"
    assert made[-2] == "| work | 1 | 2 s | fake 1.0: 4 (2)<br>fake 1.0: not here | 0.1235 | 1.5 |"
    assert made[-1] == "| work bytes | 1 | 7 MB |  |  |  |"


def row(case: str, size: str, peer: str, ours: float, theirs: float | None) -> dict[str, object]:
    ratio = theirs / ours if theirs else None
    return {"case": case, "size": size, "ours": ours, "peer": peer, "peer_value": theirs, "ratio": ratio}


def test_bars_stand_on_the_side_of_one_that_their_ratio_is_on():
    rows = [row("a", "1", "<slow>", 2, 20), row("b", "1", "fast", 2, 0.2), row("c", "1", "absent", 2, None)]
    picture = figures.ratios("ratios", rows)
    bars = [rect.attrib for rect in elements(picture, "rect")[1:]]
    assert len(bars) == 2
    one = float(bars[0]["x"])
    assert float(bars[1]["x"]) + float(bars[1]["width"]) == pytest.approx(one, abs=0.1)
    assert float(bars[0]["width"]) == pytest.approx(float(bars[1]["width"]), abs=0.1)
    assert "a, 1: <slow>" in [text.text for text in elements(picture, "text")]


def test_curves_have_a_point_for_each_size_and_rise_with_the_cost():
    rows = [row("ecdh", f"{n:,} x 2", "other", 2, 20) for n in (1000, 100, 10)] + [row("else", "5 x 2", "no", 1, 1)]
    ours, other = elements(figures.curves("time", "ecdh", rows), "polyline")
    points = [tuple(map(float, pair.split(","))) for pair in ours.attrib["points"].split()]
    assert len(points) == 3
    assert points == sorted(points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)  # y grows downwards
    assert float(other.attrib["points"].split(",")[1].split()[0]) < points[0][1]


def elements(picture: str, kind: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}" + kind))


def test_the_committed_figures_are_drawn_from_the_committed_reports():
    for name, picture in table.drawn(table.newest(table.HERE / "results")).items():
        assert (table.HERE / "results" / name).read_text() == picture
        assert f"results/{name}" in table.README.read_text()


@pytest.mark.skipif(not tiers.has_simd(), reason="the limit is that of IFMA")
def test_what_cannot_be_avoided_takes_less_than_what_is_measured():
    (multiply,) = [r for r in kernels.elements("simd", 1024).run(1) if r.case == "multiply simd"][:1]
    assert 0 < multiply.limit < multiply.ours
    assert limits.modular_us(60, square=True) / limits.modular_us(40, square=True) == pytest.approx(2.25, rel=0.3)


def test_one_core_is_one_core_while_it_lasts():
    before = os.sched_getaffinity(0)
    with scaling.one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    (found,) = scaling.contest("work", 1, lambda: sum(range(20_000))).run(3)
    assert (found.case, found.unit) == ("work, two cores", "of the time on one")
    assert 0.2 < found.ours < 5

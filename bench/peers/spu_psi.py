"""SecretFlow's PSI in spu: two processes over loopback, CSV in and out; arguments: rows of each side, ECDH or RR22."""

from __future__ import annotations

import multiprocessing
import resource
import socket
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.peers import answer


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _loopback_bytes() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _party(rank: int, ports: list[int], folder: str, protocol: str) -> float:
    """One side, rank 0 receives the result; returns the CPU seconds that it spent."""
    import spu.libspu as lib  # type: ignore[import-not-found]
    import spu.psi as psi  # type: ignore[import-not-found]

    parties = lib.link.Desc()
    for i, port in enumerate(ports):
        parties.add_party(f"party{i}", f"127.0.0.1:{port}")
    of_protocol: dict[str, Any] = {
        "ECDH": {"ecdh_params": psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519)},
        "RR22": {"rr22_params": psi.Rr22Rarams(low_comm_mode=False)},
    }
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=getattr(psi.PsiProtocol, f"PROTOCOL_{protocol}"),
            receiver_rank=0,
            broadcast_result=False,
            **of_protocol[protocol],
        ),
        input_params=psi.InputParams(path=f"{folder}/in{rank}.csv", selected_keys=["id"], keys_unique=True),
        output_params=psi.OutputParams(path=f"{folder}/out{rank}.csv", disable_alignment=True),
    )
    start = _cpu()
    link = lib.link.create_brpc(parties, rank)
    psi.psi_execute(config, link)
    spent = _cpu() - start
    link.stop_link()
    return spent


def main(rows: int, protocol: str) -> None:
    """Match two sets of which half is shared; bytes are those that the loopback device carried, headers included."""
    with tempfile.TemporaryDirectory() as folder:
        for rank, step in enumerate((1, 2)):
            lines = "".join(f"id{step * i:012d}\n" for i in range(rows))
            Path(folder, f"in{rank}.csv").write_text("id\n" + lines)
        ports, before = [_free_port(), _free_port()], _loopback_bytes()
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            sides = [pool.submit(_party, rank, ports, folder, protocol) for rank in (0, 1)]
            seconds = sum(side.result() for side in sides)
        carried = _loopback_bytes() - before
        shared = len(Path(folder, "out0.csv").read_text().splitlines()) - 1
        assert shared == (rows + 1) // 2, f"matched {shared} rows"
    answer(cpu=seconds / rows * 1e6, bytes=carried / rows)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

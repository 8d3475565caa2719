"""SecretFlow's PSI in spu: two processes over loopback, CSV in and out; arguments: rows of each side, ECDH or RR22."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.peers import answer


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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


class _Counter:
    """Stands between the parties: passes the connections of a port on to another, and counts what they carry."""

    def __init__(self) -> None:
        self.bytes = 0

    async def open(self, port: int) -> int:
        """Return a port whose connections go to `port`."""

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection("127.0.0.1", port)
            except OSError:  # nobody listens yet; the caller tries again
                writer.close()
                return
            await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))

        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # either side may hang up at its end
            while data := await reader.read(1 << 18):
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


async def match(folder: str, protocol: str) -> tuple[float, int]:
    """Run both sides, each in a process; return their CPU seconds together, and the bytes between them."""
    counter, own = _Counter(), [_free_port(), _free_port()]
    counted = [await counter.open(port) for port in own]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        sides = [
            asyncio.get_running_loop().run_in_executor(pool, _party, rank, ports, folder, protocol)
            for rank, ports in enumerate(([own[0], counted[1]], [counted[0], own[1]]))
        ]
        return sum(await asyncio.gather(*sides)), counter.bytes


def main(rows: int, protocol: str) -> None:
    """Match two sets of which half is shared."""
    with tempfile.TemporaryDirectory() as folder:
        for rank, step in enumerate((1, 2)):
            lines = "".join(f"id{step * i:012d}\n" for i in range(rows))
            Path(folder, f"in{rank}.csv").write_text("id\n" + lines)
        seconds, carried = asyncio.run(match(folder, protocol))
        shared = len(Path(folder, "out0.csv").read_text().splitlines()) - 1
        assert shared == (rows + 1) // 2, f"matched {shared} rows"
    answer(cpu=seconds / rows * 1e6, bytes=carried / rows)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

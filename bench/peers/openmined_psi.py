"""openmined.psi: ECDH on P-256, the server's set as a Golomb-compressed set; one argument, the rows of each side."""

from __future__ import annotations

import sys

import private_set_intersection.python as psi  # type: ignore[import-not-found]

from bench.clock import cpu_seconds
from bench.peers import answer

FALSE_POSITIVES = 1e-9


def main(rows: int) -> None:
    """Match two sets of which half is shared, both sides in this process, the client learning which."""
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    mine = [f"id{i:012d}" for i in range(rows)]
    theirs = [f"id{2 * i:012d}" for i in range(rows)]
    sent: list[int] = []

    def match() -> None:
        setup = server.CreateSetupMessage(FALSE_POSITIVES, rows, theirs, psi.DataStructure.GCS)
        request = client.CreateRequest(mine)
        response = server.ProcessRequest(request)
        assert len(client.GetIntersection(setup, response)) >= rows // 2
        sent.extend(message.ByteSize() for message in (setup, request, response))

    seconds = cpu_seconds(match)
    answer(cpu=seconds / rows * 1e6, bytes=sum(sent) / rows)


if __name__ == "__main__":
    main(int(sys.argv[1]))

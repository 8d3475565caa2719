"""What every process does alike: logs that give nothing away, exit codes, an end with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from engine.errors import Misuse
from node import process

SECRET = "S1234567A"


def fail(row: str) -> None:
    raise ValueError(f"cannot read {row}")


def test_a_defect_is_logged_with_its_place_and_without_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    log = process.logger("worker bank")
    try:
        try:
            fail(SECRET)
        except ValueError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError:
        log.exception("a defect")
    said = capsys.readouterr().err
    for part in ("a defect", "worker bank", "in fail", "ValueError", "which led to", "RuntimeError", "test_process.py"):
        assert part in said
    assert SECRET not in said


def test_an_error_to_be_mended_is_a_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve() -> None:
        raise Misuse("mend this")

    assert process.run(serve) == 2
    assert capsys.readouterr().err == "mend this\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_in_order(number: signal.Signals) -> None:
    ended = []

    async def serve() -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        try:
            await asyncio.sleep(20)
        finally:
            ended.append(True)

    assert process.run(serve) == 0
    assert ended


def test_a_process_ends_when_its_standard_input_does() -> None:
    code = "import time; from node import process; process.end_with_stdin(); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        child.stdin.close()
        assert child.wait(10) == process.PARENT_GONE

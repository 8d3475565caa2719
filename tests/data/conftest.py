import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_sets():
    """The folder of the real data sets, named by SYNERGOS_TEST_DATA."""
    folder = os.environ.get("SYNERGOS_TEST_DATA")
    if not folder:
        pytest.skip("SYNERGOS_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture
def write(tmp_path):
    """Write a text to a file; return its path."""

    def write(text, name="train.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write

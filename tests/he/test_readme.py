"""The code on the pages runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "engine" / "he"


@pytest.mark.parametrize("page", ["README.md", "ADDITIVE.md", "CKKS.md"])
def test_blocks_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})

"""The README's code runs."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "engine" / "he" / "README.md"


def test_readme_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})

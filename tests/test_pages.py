"""The folders' pages: their examples run, what they link to is there, and they fit on a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "engine/runtime", "engine/data", "engine/psi", "engine/vertical", "engine/he", "tests")
PAGES = [ROOT / folder / "README.md" for folder in FOLDERS]


def name(page: Path) -> str:
    return str(page.parent.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES[1:3], ids=name)
def test_examples_run(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        # dont_inherit: the example must not see this file's `annotations` import
        exec(compile(block, str(page), "exec", dont_inherit=True), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES[1:-1], ids=name)
def test_every_file_is_on_its_page(page: Path) -> None:
    text = page.read_text()
    for file in page.parent.glob("*.py"):
        assert file.name == "__init__.py" or f"`{file.name}`" in text, file.name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_a_page(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 120

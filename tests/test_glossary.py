"""The glossary that the pages show is the one that the README gives."""

from __future__ import annotations

from hfembed.glossary import read_glossary
from hfembed.resources import PACKAGE


def test_the_glossary_is_that_of_the_readme():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Glossary\n")[2].partition("\n## ")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.strip().splitlines()[2:]]
    assert rows == list(read_glossary().items())

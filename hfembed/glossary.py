"""Glossary: the words that every part of hfembed uses, and what they mean."""

from __future__ import annotations

import yaml

from hfembed.resources import PACKAGE

FILE = PACKAGE / "glossary.yaml"


def read_glossary() -> dict[str, str]:
    """Return every word with its meaning."""
    words: dict[str, str] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return words

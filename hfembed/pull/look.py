"""A look at a corpus before anything is run: its first documents, and what they are like."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.corpus import CorpusSource
from hfembed.events import silent
from hfembed.hub import TokenizerSource
from hfembed.pull.chunk import make_cutter
from hfembed.pull.describe import Finding, Topic, findings
from hfembed.pull.documents import Document, Tally, read_corpus
from hfembed.pull.groups import write_groups
from hfembed.pull.stage import Draft, refuse_too_little
from hfembed.pull.tokens import BaseTokenizer
from hfembed.recipe import Pull
from hfembed.run import LAYOUT, Run

MOST_DOCUMENTS = 200
MOST_SECONDS = 8.0
# With fewer documents a verdict is hard to come by.
FEW = 200


@dataclass(frozen=True)
class Sample:
    """The first documents of a corpus. is_whole: it has no others."""

    name: str
    documents: tuple[Document, ...]
    tally: Tally
    is_whole: bool


@dataclass(frozen=True)
class Look:
    """What a sample is like under a base model. texts: what is embedded, the chunks where documents are cut."""

    sample: Sample
    texts: tuple[Document, ...]
    facts: dict[str, Any]
    findings: tuple[Finding, ...]


def take_sample(
    source: CorpusSource,
    settings: Pull,
    tally: Tally | None = None,
    count: int = MOST_DOCUMENTS,
    seconds: float = MOST_SECONDS,
) -> Sample:
    """Read the first documents of a corpus as pull reads them: at most `count`, and for not much longer than asked.

    tally: is told what was read and which columns there are, even where reading fails.
    """
    tally = tally or Tally()
    deadline = time.monotonic() + seconds
    stream = read_corpus(source, settings, tally)
    documents: list[Document] = []
    for document in stream:
        documents.append(document)
        if len(documents) >= count or time.monotonic() > deadline:
            return Sample(source.name, tuple(documents), tally, is_whole=False)
    return Sample(source.name, tuple(documents), tally, is_whole=True)


def look(sample: Sample, settings: Pull, tokenizer: TokenizerSource) -> Look:
    """Say what a sample is like: how long, in which languages, and what its owner should know.

    Raises CorpusError, in the words of pull, for a whole corpus that is too small.
    """
    base = BaseTokenizer(tokenizer) if tokenizer.file else None
    cut = make_cutter(settings.chunk, base, tokenizer.name)
    texts = tuple(piece for document in sample.documents for piece in ([document] if cut is None else cut(document)))
    if sample.is_whole:
        refuse_too_little(sample.name, sample.tally, len(texts))
    with tempfile.TemporaryDirectory(prefix="hfembed-look-") as work:
        draft, alike = _draft(texts, Path(work), settings.near_duplicates)
        facts = draft.measure(base, silent())
    known = findings(facts, tokenizer.name, tokenizer.languages)
    return Look(sample, texts, facts, tuple([*known, *_about(sample, len(alike))]))


def keep_texts(found: Look, run: Run, near_duplicates: float | None) -> None:
    """Put the texts of a look into a run's folder where pull would put all of them."""
    file = run.path(LAYOUT.documents)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft, names = _draft(found.texts, file.parent, near_duplicates)
    write_groups(
        draft.file, file, lambda rows: [names.get(identity, identity) for identity in rows["document"].to_pylist()]
    )
    draft.file.unlink()


def _draft(texts: Sequence[Document], folder: Path, threshold: float | None) -> tuple[Draft, dict[str, str]]:
    draft = Draft(folder / "draft.parquet", threshold)
    draft.write(texts)
    return draft, draft.group(silent())


def _about(sample: Sample, alike: int) -> Iterator[Finding]:
    tally, count = sample.tally, len(sample.documents)
    among = "" if sample.is_whole else f" of the first {tally.read:,}"
    if sample.is_whole and count < FEW:
        yield Finding(
            Topic.FEW,
            f"{count:,} documents are little to learn from and to test on: a small gain may not be told from none.",
            "Add documents where you have more.",
        )
    twice = tally.dropped["duplicate"]
    if twice:
        yield Finding(
            Topic.REPEATED,
            f"{twice:,} document{'s' * (twice != 1)}{among} stand{'s' * (twice == 1)} there twice, and "
            f"{'is' if twice == 1 else 'are'} read once.",
        )
    if alike:
        yield Finding(
            Topic.REPEATED,
            f"{alike:,} documents{among} are near duplicates of others; those that are alike are kept together when "
            "some are held back for the test.",
        )
    unusable = sum(tally.dropped.values()) - twice
    if unusable:
        reasons = ", ".join(
            f"{number:,} {reason.replace('_', ' ')}"
            for reason, number in tally.dropped.items()
            if reason != "duplicate"
        )
        names = ", ".join(entry["file"] for entry in tally.skipped[:3])
        yield Finding(
            Topic.DROPPED,
            f"{unusable:,} record{'s' * (unusable != 1)}{among} give{'s' * (unusable == 1)} no document: {reasons}"
            + (f" ({names})" if names else "")
            + ".",
        )

"""The pull stage: read, clean, cut, group near duplicates, write documents.parquet and say what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hfembed.batches import gather
from hfembed.corpus import DOCUMENTS, join_title
from hfembed.errors import CorpusError
from hfembed.events import Reporter
from hfembed.ontology import write_terms
from hfembed.pull.chunk import make_cutter
from hfembed.pull.describe import Measure, describe, sampling_step
from hfembed.pull.documents import Document, Tally, read_corpus
from hfembed.pull.groups import LARGE_SHARE, embedded_texts, largest_group, name_groups, read_rows, write_groups
from hfembed.pull.near import Bands, Rows
from hfembed.pull.ontology import LeftOut
from hfembed.pull.tokens import BaseTokenizer
from hfembed.recipe import ChunkBy
from hfembed.run import LAYOUT
from hfembed.stage import Job, Outcome

MIN_DOCUMENTS = 10
WRITE_ROWS = 4_096
WRITE_CHARS = 16_000_000
SAMPLES = 5
SAMPLE_CHARS = 200
NAMED_FILES = 100
DRAFT = pa.schema([field for field in DOCUMENTS if field.name != "group"])


def pull(job: Job) -> Outcome:
    """Read the corpus, keep its usable documents once each, group what is alike, and write them down."""
    tally, source, settings = Tally(), job.sources.corpus, job.recipe.pull
    tokenizer = BaseTokenizer(job.sources.tokenizer) if job.sources.tokenizer.file else None
    draft = Draft(job.out / "draft.parquet", settings.near_duplicates)
    draft.write(
        read_corpus(source, settings, tally, job.report, make_cutter(settings.chunk, tokenizer, job.recipe.base))
    )
    refuse_too_little(source.name, tally, len(draft.documents))
    names = draft.group(job.report)
    if tally.kept < MIN_DOCUMENTS:  # a single book: its chunks are all that can be split
        write_groups(draft.file, job.out / "documents.parquet", lambda rows: rows["id"].to_pylist())
        job.report.warn(f"The corpus is {tally.kept} long document(s): chunks of one stand in different splits.")
    else:
        write_groups(
            draft.file,
            job.out / "documents.parquet",
            lambda rows: [names.get(identity, identity) for identity in rows["document"].to_pylist()],
        )
    facts = draft.measure(tokenizer, job.report)
    draft.file.unlink()
    facts |= {
        "columns": vars(tally.columns) if tally.columns else {},
        "near_duplicate_groups": len(set(names.values())),
        "near_duplicates": len(names),
        "skipped_files": tally.skipped[:NAMED_FILES],
    }
    _say_what_was_read(job.report, tally, names)
    describe(job.report, facts, job.sources.tokenizer.name, job.sources.tokenizer.languages)
    if tally.terms:
        write_terms(job.out / Path(LAYOUT.terms).name, tally.terms)
    counts = {"read": tally.read, "documents": tally.kept, "invalid_utf8": tally.invalid_utf8}
    if settings.chunk.by is not ChunkBy.NONE:
        counts["chunks"] = len(draft.documents)
    if tally.terms:
        counts["synonyms"] = sum(len(term.synonyms) for term in tally.terms)
        counts["relations"] = sum(len(term.relations) for term in tally.terms)
    return Outcome(counts=counts, dropped=dict(tally.dropped), facts=facts)


class Draft:
    """The documents as they come, before it is known which of them belong together."""

    def __init__(self, file: Path, threshold: float | None) -> None:
        """Write to `file`; look for near duplicates that share `threshold`, or for none."""
        self.file = file
        self.documents: Rows = np.zeros(0, np.int64)
        self._threshold = threshold
        self._bands = Bands(threshold) if threshold is not None else None
        self._chars = 0

    def write(self, documents: Iterable[Document]) -> None:
        """Write documents in row groups of bounded size."""
        numbers: list[Rows] = []
        number, last = -1, None
        with pq.ParquetWriter(self.file, DRAFT) as writer:
            for batch in gather(documents, lambda document: len(document.text), WRITE_CHARS, WRITE_ROWS):
                rows = np.zeros(len(batch), np.int64)
                for at, document in enumerate(batch):
                    number += document.document != last
                    rows[at], last = number, document.document
                numbers.append(rows)
                columns = {name: [getattr(document, name) for document in batch] for name in DRAFT.names}
                writer.write_table(pa.table(columns, schema=DRAFT))
                texts = [join_title(document.title, document.text) for document in batch]
                self._chars += sum(map(len, texts))
                if self._bands is not None:
                    self._bands.add(texts)
        self.documents = np.concatenate(numbers) if numbers else self.documents

    def group(self, report: Reporter) -> dict[str, str]:
        """Return the groups of near duplicates, by document."""
        if self._bands is None or self._threshold is None:
            return {}
        task = report.task("looking for near duplicates")
        names = name_groups(self.file, self._bands, self._threshold, self.documents)
        task.finish()
        return names

    def measure(self, tokenizer: BaseTokenizer | None, report: Reporter) -> dict[str, Any]:
        """Return lengths, languages and a few documents to look at."""
        rows = len(self.documents)
        measure, samples = Measure(tokenizer), []
        task = report.task("measuring documents")

        def take(chosen: pa.Table) -> None:
            measure.add(embedded_texts(chosen))
            task.advance(len(chosen))

        read_rows(self.file, ("title", "text"), np.arange(0, rows, sampling_step(rows, self._chars)), take)
        task.finish()
        shown = np.linspace(0, rows - 1, min(SAMPLES, rows)).astype(np.int64)
        read_rows(self.file, ("id", "title", "text"), shown, lambda chosen: samples.extend(chosen.to_pylist()))
        return {**measure.facts(), "samples": [{key: _short(value) for key, value in row.items()} for row in samples]}


def _short(text: str) -> str:
    text = " ".join(text[: 2 * SAMPLE_CHARS].split())
    return text if len(text) <= SAMPLE_CHARS else text[: SAMPLE_CHARS - 1] + "\u2026"


def refuse_too_little(name: str, tally: Tally, rows: int) -> None:
    """Refuse a corpus of too few documents, or chunks, and say where the others went."""
    if rows >= MIN_DOCUMENTS:
        return
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in tally.dropped.items())
    raise CorpusError(
        f"The corpus '{name}' has {tally.kept} usable document{'s' * (tally.kept != 1)} of {tally.read} read"
        + (f" (dropped: {why})" if why else "")
        + f"; at least {MIN_DOCUMENTS} are needed to learn from some and test on others.",
        "If their relations shall stand for definitions: --set pull.undefined=true"
        if tally.dropped[LeftOut.UNDEFINED]
        else "Add documents; if the text stands in another column: --set pull.text_column=NAME; "
        "if they are long: --set pull.chunk.by=tokens",
    )


def _say_what_was_read(report: Reporter, tally: Tally, names: dict[str, str]) -> None:
    columns = {name: column for name, column in asdict(tally.columns).items() if column} if tally.columns else {}
    report.note(", ".join(f"{name} from column '{column}'" for name, column in columns.items()))
    if names:
        groups = len(set(names.values()))
        report.note(f"{len(names):,} near duplicates in {groups:,} group{'s' * (groups != 1)}, each kept in one split")
    if largest_group(names) > LARGE_SHARE * tally.kept:
        report.warn(
            f"{largest_group(names):,} of {tally.kept:,} documents are near duplicates of one another and make one "
            "group, which no split can cut. If they only share a template: --set pull.near_duplicates=0.9 (or null)"
        )
    if tally.skipped:
        reasons = Counter(skipped["reason"].replace("_", " ") for skipped in tally.skipped)
        named = ", ".join(f"{skipped['file']} ({skipped['reason'].replace('_', ' ')})" for skipped in tally.skipped[:3])
        more = f" and {len(tally.skipped) - 3:,} more" if len(tally.skipped) > 3 else ""
        report.warn(f"{sum(reasons.values()):,} files give no document: {named}{more}.")
    if tally.invalid_utf8:
        report.warn(f"{tally.invalid_utf8} documents held invalid UTF-8; the broken bytes were replaced.")
    if tally.kept * 2 < tally.read:
        report.warn(f"Only {tally.kept} of {tally.read} records became documents: {dict(tally.dropped)}")

"""The documents before anything is launched: the first of them, how long they are, and what to know about them."""

from __future__ import annotations

from collections.abc import Sequence

from hfembed.generate.preview import Preview
from hfembed.pull.describe import OTHER, Finding, Topic
from hfembed.pull.look import Look

from .html import tag, text

SHOWN, SHOWN_CHARS = 5, 240
QUERIES, QUERY_CHARS = 8, 160
WIDTH, HEIGHT, FOOT, TOP = 360, 120, 24, 14
# What to do about a finding here; the command line says it in its own options.
ADVICE = {
    Topic.TRUNCATED: "Tick “Cut long documents into parts” below.",
    Topic.FOREIGN: "Choose a base model for several languages in step 2.",
}
LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese", OTHER: "other languages",
}  # fmt: skip


def preview_html(found: Look, whole: int | None) -> str:
    """Return what the form's documents are like; whole: how many there are, where that is known."""
    parts = [_facts(found, whole), histogram(found), findings_html(found.findings), _documents(found)]
    return tag("section", *parts, class_="hf-preview", aria_label="Your documents")


def findings_html(findings: Sequence[Finding]) -> str:
    """Return warnings as sentences."""
    rows = [
        tag("li", text(f"{finding.message} {ADVICE.get(finding.topic, finding.hint)}".strip())) for finding in findings
    ]
    return tag("ul", *rows, class_="hf-findings", aria_label="Worth knowing") if rows else ""


def histogram(found: Look) -> str:
    """Return how long the documents are, with what the base model reads of one."""
    lengths = found.facts["lengths"]
    edges, counts, limit, unit = lengths["edges"], lengths["counts"], lengths["limit"], lengths["unit"]
    filled = [at for at, count in enumerate(counts) if count]
    first, last = filled[0], filled[-1]
    bars = list(zip(edges[first : last + 1], edges[first + 1 : last + 2], counts[first : last + 1], strict=True))
    slot, most = WIDTH / len(bars), max(counts)
    drawn = []
    for at, (low, high, count) in enumerate(bars):
        height = (HEIGHT - FOOT - TOP) * count / most
        drawn.append(
            tag(
                "rect", tag("title", text(f"{low:,} to {high - 1:,} {unit}: {count:,}")), x=f"{at * slot + 2:.1f}",
                y=f"{HEIGHT - FOOT - height:.1f}", width=f"{slot - 4:.1f}", height=f"{max(1.5, height):.1f}", rx="3",
                class_="hf-over" if limit is not None and low > limit else "hf-within",
            )
        )  # fmt: skip
        drawn.append(_label(at * slot + slot / 2, HEIGHT - 8, f"{low:,} to {high - 1:,}"))
    drawn += _limit_mark(limit, [(low, high) for low, high, _ in bars], slot)
    longest, median = lengths["longest"], lengths["median"]
    reads = f"; the base model reads {limit:,}" if limit else ""
    words = f"Length of the documents in {unit}: half have fewer than {median:,}, the longest {longest:,}{reads}."
    drawing = tag("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=words)
    return tag("figure", tag("figcaption", text(words)), drawing, class_="hf-lengths")


def queries_html(found: Preview) -> str:
    """Return documents with the queries that were made from them."""
    items = []
    for one in found.documents:
        asked = [
            tag(
                "li",
                tag("span", text(str(query["kind"]).replace("_", " ")), class_="hf-kind"),
                text(_short(query["query"], QUERY_CHARS)),
            )
            for query in one.queries[:QUERIES]
        ]
        more = len(one.queries) - len(asked)
        if more > 0:
            asked.append(tag("li", text(f"and {more} more"), class_="hf-quiet"))
        asked = asked or [tag("li", text("Nothing could be made from this one."), class_="hf-quiet")]
        items.append(tag("article", tag("p", text(_short(one.text)), class_="hf-excerpt"), tag("ul", *asked)))
    head = tag(
        "p",
        text("From the left come passages of yours; on the right is what would be asked about them."),
        class_="hf-meta",
    )
    return tag("section", head, *items, class_="hf-queries", aria_label="Sample queries")


def working_box(words: str) -> str:
    """Return what stands where something is being found out."""
    bar = tag("div", tag("span"), class_="hf-bar hf-unknown")
    return tag("div", tag("p", text(words), class_="hf-task"), bar, class_="hf-work", role="status")


def _facts(found: Look, whole: int | None) -> str:
    sample, lengths = found.sample, found.facts["lengths"]
    read = len(sample.documents)
    count = f"{read:,} documents" if sample.is_whole else f"the first {read:,}"
    if not sample.is_whole and whole:
        count += f" of about {whole:,} documents"
    if len(found.texts) != read:
        count += f", cut into {len(found.texts):,} parts"
    shares = [
        LANGUAGES.get(code, code) + (f" {share:.0%}" if share < 1 else "")
        for code, share in found.facts["languages"].items()
    ]
    columns = sample.tally.columns
    named = [("text", columns.text), ("title", columns.title)] if columns else []
    told = {
        "Read": count,
        "Language": ", ".join(shares) or "cannot be told",
        "Length": f"{lengths['median']:,} {lengths['unit']} in the middle",
        "Columns": ", ".join(f"{what} from “{name}”" for what, name in named if name),
    }
    pairs = (tag("div", tag("dt", text(key)), tag("dd", text(value))) for key, value in told.items() if value)
    return tag("dl", *pairs, class_="hf-told")


def _limit_mark(limit: int | None, bars: Sequence[tuple[int, int]], slot: float) -> list[str]:
    """Return a line where the base model stops reading, if that is among the lengths that are drawn."""
    at = next((at for at, (low, high) in enumerate(bars) if limit and low - 1 <= limit <= high), None)
    if at is None or limit is None:
        return []
    low, high = bars[at]
    x = max(1.0, min(WIDTH - 1, (at + min(1.0, (limit + 1 - low) / (high - low))) * slot))
    is_right = x > WIDTH / 2
    line = tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1="2", y2=str(HEIGHT - FOOT), class_="hf-limit")
    words = f"{limit:,} are read"
    return [line, _label(x - 5 if is_right else x + 5, 11, words, "end" if is_right else "start")]


def _documents(found: Look) -> str:
    rows = [
        tag("li", tag("b", text(_short(one.title or one.id, 90))), tag("p", text(_short(one.text))))
        for one in found.sample.documents[:SHOWN]
    ]
    return tag("h4", text("The first documents"), class_="hf-sub") + tag("ol", *rows, class_="hf-documents")


def _short(words: str, most: int = SHOWN_CHARS) -> str:
    line = " ".join(words[: 2 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _label(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return tag("text", text(words), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)

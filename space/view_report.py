"""The report: the verdict in words, each score as a bar with its interval, and the same by kind of query."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .html import tag, text

EXPLAINED = {
    "ndcg@10": "how well the ten first passages are ordered",
    "recall@10": "how often the answer is among the ten first",
    "mrr@10": "how near the top the first answer stands",
    "hit@1": "how often the first passage is the answer",
}
NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10", "hit@1": "Hit@1"}
SEARCHES = {
    "base": "base", "tuned": "tuned", "bm25": "BM25", "fusion": "tuned + BM25",
    "sparse": "weights of its tokens", "multi_vector": "vectors of its tokens", "fused": "all of its heads",
}  # fmt: skip
FIGURES = {
    "metrics.png": "Scores of every search",
    "changes.png": "How many queries moved by how much",
    "separation.png": "Cosines of right answers and of the best wrong ones, before and after",
}
BAR_HEIGHT, PLOT_HEIGHT = 16, 22
# A plot of differences reaches at least this far, so that a tiny one does not look large.
LEAST_REACH = 0.02
UNSEEN = "have gone unseen"


def report_html(summary: Mapping[str, Any], caveats: str = "", figures: Sequence[Path] = ()) -> str:
    """Return the report of a finished run, from the object that `hfembed run` prints.

    caveats: what a reader must know before relying on it, as HTML. figures: pictures of the run.
    """
    report = summary["report"]
    return tag(
        "div",
        _verdict(summary["verdict"], report),
        metrics_html(report),
        _legend(report),
        _kinds(report["by_kind"]),
        _public(report["public"]),
        _onnx(summary["onnx"]),
        _folded("What to know before relying on it", caveats),
        _folded("Figures", "".join(_figure(file) for file in figures)),
        class_="hf-report",
    )


def verdict_html(verdict: str, sentence: str, more: str = "") -> str:
    """Return a verdict in a word and in a sentence."""
    kind = verdict.replace(" ", "-")
    badge = tag("span", text(verdict), class_=f"hf-badge hf-{kind}")
    return tag("div", badge, tag("p", text(sentence)), more, class_=f"hf-verdict hf-{kind}")


def metrics_html(metrics: Mapping[str, Any], model: str = "tuned") -> str:
    """Return the scores of every search. model: what the one that is judged is called."""
    names = {**SEARCHES, "tuned": model, "fusion": f"{model} + BM25"}
    return tag("div", *(_metric(key, metrics[key], names) for key in EXPLAINED if key in metrics), class_="hf-metrics")


def bar(value: float, interval: tuple[float, float] | None, label: str, kind: str = "") -> str:
    """Return a bar from 0 to 1 with the interval of its value, as SVG that is as wide as there is room."""
    middle, quarter = str(BAR_HEIGHT // 2), str(BAR_HEIGHT // 4)
    parts = [
        tag("rect", width="100%", y=quarter, height=middle, rx="4", class_="hf-bar-track"),
        tag("rect", width=_percent(value), y=quarter, height=middle, rx="4", class_=f"hf-bar-value {kind}".strip()),
    ]
    if interval is not None:
        parts += _whisker(interval[0], interval[1], BAR_HEIGHT)
    return _drawing(parts, BAR_HEIGHT, label)


def difference_plot(delta: float, interval: tuple[float, float], reach: float, label: str) -> str:
    """Return a difference with its interval around no difference, as SVG; reach: where the plot ends, either way."""
    places = [_within(0.5 + value / (2 * reach)) for value in (delta, *interval)]
    middle = str(PLOT_HEIGHT // 2)
    parts = [
        tag("line", x1="50%", x2="50%", y1="0", y2=str(PLOT_HEIGHT), class_="hf-zero"),
        *_whisker(places[1], places[2], PLOT_HEIGHT),
        tag("circle", cx=_percent(places[0]), cy=middle, r="4", class_=f"hf-difference {surely(interval)}"),
    ]
    return _drawing(parts, PLOT_HEIGHT, label)


def surely(interval: Sequence[float]) -> str:
    """Return the class of a difference: up or down where its interval leaves out zero, else even."""
    return "hf-up" if interval[0] > 0 else "hf-down" if interval[1] < 0 else "hf-even"


def picture(content: bytes) -> str:
    """Return a PNG as the address of itself, since no file of a run is served to anybody."""
    return f"data:image/png;base64,{b64encode(content).decode()}"


def _verdict(verdict: str, report: Mapping[str, Any]) -> str:
    words = ""
    if report["detectable"] and UNSEEN not in report["sentence"]:
        seen = f"A difference below {report['detectable']:.4f} would {UNSEEN} on this test."
        words = tag("p", seen, class_="hf-meta")
    return verdict_html(verdict, report["sentence"], words)


def _metric(metric: str, row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    low, high = row["ci"]
    best = max(row[name] for name in names if name in row)
    lines = [_line(name, names[name], row, row[name] == best) for name in names if name in row]
    difference = tag("b", f"{row['delta']:+.4f}", class_=surely(row["ci"]))
    chance = f", p = {row['p']:.2g}" if "p" in row else ""
    what = text(f"{names['tuned']} - base: ")
    change = tag("p", what, difference, f" ({low:+.4f} to {high:+.4f}{chance})", class_="hf-meta hf-number")
    head = tag("h4", NAMES[metric]) + tag("p", EXPLAINED[metric], class_="hf-meta")
    return tag("section", head, *lines, change, class_="hf-metric", aria_label=NAMES[metric])


def _line(name: str, label: str, row: Mapping[str, Any], is_best: bool) -> str:
    value = row[name]
    low, high = (row["base"] + end for end in row["ci"])
    interval = (low, high) if name == "tuned" else None
    said = f"{label} {value:.4f}" + (f", {low:.4f} to {high:.4f}" if interval else "")
    number = tag("span", f"{value:.4f}", class_="hf-number" + (" hf-best" if is_best else ""))
    drawn = bar(value, interval, said, "hf-tuned" if name == "tuned" else "")
    return tag("div", tag("span", text(label), class_="hf-search-name"), drawn, number, class_="hf-metric-line")


def _legend(report: Mapping[str, Any]) -> str:
    words = (
        f"{report['queries']:,} held-out queries over {report['documents']:,} documents, none of them about a document "
        f"that was learned from. The line on the bar of tuned is the {report['confidence']:.0%} interval of its "
        "difference to the base. Tuned + BM25 adds up the scores of both."
    )
    return tag("p", text(words), class_="hf-meta")


def _kinds(kinds: Mapping[str, Any]) -> str:
    if not kinds:
        return ""
    reach = max(LEAST_REACH, *(abs(end) for row in kinds.values() for end in row.get("ci", (0.0,))))
    heads = ("kind of query", "queries", "base", "tuned", "BM25", "tuned - base")
    table = tag(
        "table",
        tag("caption", f"nDCG@10 by kind of query; the plots reach from {-reach:+.2f} to {reach:+.2f}."),
        tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))),
        tag("tbody", *(_kind(kind, row, reach) for kind, row in kinds.items())),
        class_="hf-scores hf-kinds",
    )
    return _folded("By kind of query", tag("div", table, class_="hf-scroll"))


def _kind(kind: str, row: Mapping[str, Any], reach: float) -> str:
    cells = [tag("td", f"{row['queries']:,}", class_="hf-number")]
    cells += [tag("td", f"{row[name]:.4f}", class_="hf-number") for name in ("base", "tuned", "bm25")]
    delta = row.get("delta", row["tuned"] - row["base"])
    ends = row.get("ci", (delta, delta))
    said = f"{delta:+.4f} ({ends[0]:+.4f} to {ends[1]:+.4f})"
    plot = difference_plot(delta, (ends[0], ends[1]), reach, f"tuned minus base: {said}")
    difference = tag("td", plot, tag("small", said), class_="hf-plot hf-number")
    return tag("tr", tag("th", text(kind.replace("_", " ")), scope="row"), *cells, difference)


def _public(public: Mapping[str, Any]) -> str:
    rows = [
        tag(
            "li",
            tag("b", text(row["task"])),
            f" {text(row['metric'])}: base {row['base']:.4f}, tuned {row['tuned']:.4f} ({row['delta']:+.4f})",
        )
        for row in public.get("scores", [])
    ]
    return _folded("On public tasks", tag("ul", *rows, class_="hf-files")) if rows else ""


def _onnx(onnx: Mapping[str, Any] | None) -> str:
    rows = [
        tag(
            "li",
            tag("code", text(file["file"])),
            f" nDCG@10 {file['ndcg_delta']:+.4f} against torch, {file['docs_per_second']:.0f} documents/s "
            f"(torch {file['torch_docs_per_second']:.0f})",
        )
        for file in (onnx["files"] if onnx else [])
    ]
    return (
        _folded("Files for other engines", tag("ul", *rows, class_="hf-files", aria_label="ONNX files")) if rows else ""
    )


def _figure(file: Path) -> str:
    words = FIGURES.get(file.name, file.stem.replace("_", " "))
    image = tag("img", src=picture(file.read_bytes()), alt=words, loading="lazy").removesuffix("</img>")
    return tag("figure", image, tag("figcaption", text(words)), class_="hf-figure")


def _folded(title: str, inner: str) -> str:
    return tag("details", tag("summary", text(title)), inner, class_="hf-details") if inner else ""


def _whisker(low: float, high: float, height: int) -> list[str]:
    middle = str(height // 2)
    ends = [
        tag(
            "line",
            x1=_percent(at),
            x2=_percent(at),
            y1=str(height // 4),
            y2=str(height - height // 4),
            class_="hf-whisker",
        )
        for at in (low, high)
    ]
    return [tag("line", x1=_percent(low), x2=_percent(high), y1=middle, y2=middle, class_="hf-whisker"), *ends]


def _drawing(parts: Sequence[str], height: int, label: str) -> str:
    return tag("svg", *parts, width="100%", height=str(height), role="img", aria_label=label)


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))


def _percent(share: float) -> str:
    return f"{_within(share) * 100:.2f}%"

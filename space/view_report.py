"""The report: verdict, scores of base, tuned and BM25, the files for other engines."""

from __future__ import annotations

from typing import Any

from .html import tag, text

EXPLAINED = {
    "ndcg@10": "how well the ten first passages are ordered",
    "recall@10": "how often the answer is among the ten first",
    "mrr@10": "how near the top the first answer stands",
    "hit@1": "how often the first passage is the answer",
}
NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10", "hit@1": "Hit@1"}
USE = 'from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer("{folder}")'
MODEL_FOLDER = "model"


def report_html(summary: dict[str, Any]) -> str:
    """Return the report of a finished run, from the object that `hfembed run` prints."""
    report = summary["report"]
    return tag(
        "div",
        _verdict(summary["verdict"], report["sentence"]),
        _scores(report),
        _onnx(summary["onnx"]),
        _use(),
        class_="hf-report",
    )


def _verdict(verdict: str, sentence: str) -> str:
    kind = verdict.replace(" ", "-")
    badge = tag("span", text(verdict), class_=f"hf-badge hf-{kind}")
    return tag("div", badge, tag("p", text(sentence)), class_=f"hf-verdict hf-{kind}")


def _scores(report: dict[str, Any]) -> str:
    heads = "".join(tag("th", name, scope="col") for name in ("", "base", "tuned", "BM25", "difference"))
    rows = [_row(metric, report[metric]) for metric in EXPLAINED if metric in report]
    percent = f"{report['confidence'] * 100:.0f} % interval"
    caption = f"{report['queries']:,} held-out queries over {report['documents']:,} documents; {percent} in brackets."
    table = tag(
        "table",
        tag("caption", text(caption)),
        tag("thead", tag("tr", heads)),
        tag("tbody", *rows),
        class_="hf-scores",
    )
    return tag("div", table, class_="hf-scroll")


def _row(metric: str, row: dict[str, Any]) -> str:
    low, high = row["ci"]
    sure = "hf-up" if low > 0 else "hf-down" if high < 0 else "hf-even"
    difference = tag("b", f"{row['delta']:+.4f}") + tag("small", f"({low:+.4f} to {high:+.4f})")
    best = max(row["base"], row["tuned"], row["bm25"])
    cells = [
        tag("td", f"{row[name]:.4f}", class_="hf-number" + (" hf-best" if row[name] == best else ""))
        for name in ("base", "tuned", "bm25")
    ]
    head = tag("th", tag("span", NAMES[metric]), tag("small", EXPLAINED[metric]), scope="row")
    return tag("tr", head, *cells, tag("td", difference, class_=f"hf-number {sure}"))


def _onnx(onnx: dict[str, Any] | None) -> str:
    files = onnx["files"] if onnx else []
    rows = [
        tag(
            "li",
            tag("code", text(file["file"])),
            f" nDCG@10 {file['ndcg_delta']:+.4f} against torch, {file['docs_per_second']:.0f} documents/s "
            f"(torch {file['torch_docs_per_second']:.0f})",
        )
        for file in files
    ]
    return tag("ul", *rows, class_="hf-files", aria_label="ONNX files") if rows else ""


def _use() -> str:
    words = tag("p", "Download the model, unpack it, and:", class_="hf-meta")
    return tag("div", words, tag("pre", tag("code", text(USE.format(folder=MODEL_FOLDER)))), class_="hf-use")

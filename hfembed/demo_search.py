"""What a stranger does with two models on a Hub: load them by id, ask questions, compare the answers.

    python demo_search.py BASE TUNED CORPUS

Knows nothing of hfembed. CORPUS is a dataset repo in BEIR layout with questions by people. Prints one JSON
object: on how many questions the answer rose or fell, and three questions before and after.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer

SHOWN = 3


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def ranks(
    model_id: str, documents: list[str], questions: list[str], answers: list[set[int]]
) -> list[tuple[int, int, int]]:
    """Return, for each question, the rank of its first right answer, that answer's row, and the row of what came first."""
    model = SentenceTransformer(model_id)
    scores = model.similarity(model.encode_query(questions), model.encode_document(documents))
    order = scores.argsort(dim=1, descending=True).tolist()
    found = []
    for rows, right in zip(order, answers, strict=True):
        place = next(place for place, row in enumerate(rows, 1) if row in right)
        found.append((place, rows[place - 1], rows[0]))
    return found


def main(base: str, tuned: str, corpus: str) -> None:
    """Ask every question of both models."""
    folder = Path(snapshot_download(corpus, repo_type="dataset"))
    documents, questions = read(folder, "corpus.jsonl"), read(folder, "queries.jsonl")
    row_of = {document["_id"]: row for row, document in enumerate(documents)}
    answers: dict[str, set[int]] = {}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            answers.setdefault(row["query-id"], set()).add(row_of[row["corpus-id"]])
    texts = [f"{document['title']} {document['text']}" for document in documents]
    asked, right = [question["text"] for question in questions], [answers[question["_id"]] for question in questions]
    before, after = ranks(base, texts, asked, right), ranks(tuned, texts, asked, right)
    # A step from rank 9 to rank 4 matters more to a reader than one from 42 to 27.
    moved = sorted(range(len(asked)), key=lambda at: 1 / before[at][0] - 1 / after[at][0])
    examples = [
        {
            "question": asked[at],
            "before": {"rank": before[at][0], "first": documents[before[at][2]]["title"]},
            "after": {"rank": after[at][0], "first": documents[after[at][2]]["title"]},
            "answer": documents[after[at][1]]["title"],
        }
        for at in moved[:SHOWN]
    ]
    rose = sum(b[0] > a[0] for b, a in zip(before, after, strict=True))
    fell = sum(b[0] < a[0] for b, a in zip(before, after, strict=True))
    print(json.dumps({"questions": len(asked), "rose": rose, "fell": fell, "examples": examples}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

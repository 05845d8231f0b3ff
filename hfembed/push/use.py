"""Use: how a model of hfembed is used from every engine, as its card says it."""

from __future__ import annotations

from hfembed.push.card import render_text
from hfembed.push.serving import ONNX, QUANTIZED, Serving

# What a run ends with: a plain transformer with its pooling, and ONNX files that passed their gate.
PLAIN = Serving(("Transformer", "Pooling", "Normalize"), "mean", {}, (ONNX, QUANTIZED), tokenizer=True)
SEARCH = """from sentence_transformers import SentenceTransformer, util

model = SentenceTransformer("{repo}")
documents = ["a passage", "another passage"]
question, passages = model.encode_query("your question"), model.encode_document(documents)
for hit in util.semantic_search(question, passages, top_k=10)[0]:
    print(f"{{hit['score']:.2f}}", documents[hit["corpus_id"]])"""


def how_to_use(repo: str, serving: Serving = PLAIN) -> str:
    """Return Markdown with a snippet for every engine that serves a model."""
    return render_text("use.md", repo=repo, serving=serving, example_queries=[], example_documents=[])


def how_to_search(repo: str) -> str:
    """Return a search over some texts as Python."""
    return SEARCH.format(repo=repo)

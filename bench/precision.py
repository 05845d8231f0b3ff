"""Measure what the fast precision of this processor gives and costs, on a labelled collection.

    python bench/precision.py FOLDER [--base MODEL]

Encodes every document and query of a BEIR collection in fp32 and in bf16 autocast. Prints documents a
second, their ratio, the largest cosine distance and nDCG@10 of both.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from hfembed.cli_base import prepare_process
from hfembed.embed import Precision, Role, encode, has_fast_bf16, load_model
from hfembed.evaluate.task import Collection
from hfembed.hub import locate_model
from hfembed.ranking import top_documents


def main() -> None:
    """Encode in both precisions and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    collection = Collection.read(arguments.folder, "Precision")
    model = load_model(locate_model(arguments.base))
    documents, queries = list(collection.corpus.values()), list(collection.queries.values())
    encode(model, documents[:32], Role.DOCUMENT, Precision.BF16)
    rates, vectors, scores = {}, {}, {}
    for precision in Precision:
        started = time.perf_counter()
        vectors[precision] = encode(model, documents, Role.DOCUMENT, precision)
        rates[precision] = len(documents) / (time.perf_counter() - started)
        ranked = top_documents(encode(model, queries, Role.QUERY, precision), vectors[precision], 10)
        scores[precision] = mean_ndcg(ranked, collection)
        print(f"{precision}: {rates[precision]:6.1f} documents/s  nDCG@10 {scores[precision]:.4f}")
    distance = 1 - (vectors[Precision.FP32] * vectors[Precision.BF16]).sum(1).min()
    print(f"bf16 / fp32: {rates[Precision.BF16] / rates[Precision.FP32]:.2f} times as fast")
    print(f"nDCG@10 {scores[Precision.BF16] - scores[Precision.FP32]:+.5f}, largest cosine distance {distance:.1e}")
    print(f"hfembed uses {'bf16' if has_fast_bf16(model.device.type) else 'fp32'} here")


def mean_ndcg(ranked: np.ndarray, collection: Collection) -> float:
    """Return nDCG@10 with every relevant document counted."""
    names = list(collection.corpus)
    discounts = 1 / np.log2(np.arange(2, 12))
    scores = []
    for rows, relevant in zip(ranked, collection.qrels.values(), strict=True):
        gains = np.array([relevant.get(names[row], 0) > 0 for row in rows])
        scores.append((gains * discounts[: len(gains)]).sum() / discounts[: min(10, len(relevant))].sum())
    return float(np.mean(scores))


if __name__ == "__main__":
    prepare_process()
    main()

"""Search with heads: candidates by vector and by shared tokens, scored by every head and by all of them together.

Comparing token by token is too dear for a whole corpus, so what is compared so are the candidates of the other two.
The vectors of a corpus' tokens take a hundred times the place of its one vector per text: they lie in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hfembed.embed import BATCH, Precision, Role, Vectors, prompt_of, unit
from hfembed.encoder import EMBEDDING, tokens_of
from hfembed.events import Reporter, silent
from hfembed.heads.files import FUSED
from hfembed.ranking import Rows, exact_scores, top_documents
from hfembed.recipe import Head

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sentence_transformers import SentenceTransformer

# Queries whose shared tokens are counted at a time: a number for each of them and every document is in memory.
QUERY_BLOCK = 256
TokenVectors = npt.NDArray[np.float16]


@dataclass(frozen=True)
class HeadTexts:
    """Texts as a model with heads sees them: vectors, weights of tokens, and vectors of tokens.

    starts, ends: where a text's tokens stand among all tokens.
    """

    vectors: Vectors
    weights: csr_matrix | None
    tokens: TokenVectors | None
    starts: Rows
    ends: Rows


@dataclass(frozen=True)
class Candidates:
    """Some documents for one query, by row, and their scores by head; under `fused`, all heads' together."""

    rows: Rows
    scores: Mapping[str, Vectors]


def read_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    role: Role,
    precision: Precision,
    file: Path,
    report: Reporter | None = None,
) -> HeadTexts:
    """Return what a model with heads makes of texts; the vectors of their tokens go into `file`."""
    from scipy.sparse import vstack

    order = np.argsort([len(text) for text in texts], kind="stable")
    back = np.argsort(order)
    vectors: list[Vectors] = []
    weights: list[Any] = []
    lengths: list[int] = []
    width, prompt = 0, prompt_of(model, role)
    task = (report or silent()).task("reading texts token by token", len(texts), "texts")
    with file.open("wb") as kept:
        for start in range(0, len(texts), BATCH):  # by length, so that little is padding
            batch = [texts[at] for at in order[start : start + BATCH]]
            read = read_batch(model, batch, prompt, precision)
            vectors.append(read.vectors)
            weights += [read.weights] if read.weights is not None else []
            for tokens in read.tokens:
                kept.write(tokens.tobytes())
                width = tokens.shape[1]
            lengths += [len(tokens) for tokens in read.tokens] or [0] * len(batch)
            task.advance(len(batch))
    task.finish()
    ends = np.cumsum(lengths, dtype=np.int64)
    return HeadTexts(
        vectors=np.concatenate(vectors)[back],
        weights=vstack(weights, format="csr")[back] if weights else None,
        tokens=np.memmap(file, dtype=np.float16, mode="r").reshape(-1, width) if width else None,
        starts=(ends - lengths)[back],
        ends=ends[back],
    )


@dataclass(frozen=True)
class Batch:
    """A few texts as a model with heads sees them; of a head that it has not there is nothing."""

    vectors: Vectors
    weights: csr_matrix | None
    tokens: list[TokenVectors]


def read_batch(model: SentenceTransformer, texts: Sequence[str], prompt: str, precision: Precision) -> Batch:
    """Return what a model with heads makes of a few texts behind a prompt."""
    import torch
    from scipy.sparse import csr_matrix

    from hfembed.heads.module import IDS, TOKEN_MASK, TOKEN_VECTORS, TOKEN_WEIGHTS
    from hfembed.heads.scores import spread

    model.eval()
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision is Precision.BF16),
    ):
        found = model(tokens_of(model, texts, prompt))
    weights, tokens = None, []
    if TOKEN_WEIGHTS in found:
        weights = csr_matrix(spread(found[TOKEN_WEIGHTS].float(), found[IDS], len(model.tokenizer)).cpu().numpy())
    if TOKEN_VECTORS in found:
        rows, heard = found[TOKEN_VECTORS].half().cpu().numpy(), found[TOKEN_MASK].cpu().numpy()
        tokens = [row[mask] for row, mask in zip(rows, heard, strict=True)]
    return Batch(unit(found[EMBEDDING].float().cpu().numpy()), weights, tokens)


def search(queries: HeadTexts, documents: HeadTexts, weights: Mapping[Head, float], count: int) -> Iterator[Candidates]:
    """Yield for every query the `count` nearest documents by vector, and by shared tokens, with all their scores."""
    near = top_documents(queries.vectors, documents.vectors, count)
    for start in range(0, len(queries.vectors), QUERY_BLOCK):
        block = range(start, min(start + QUERY_BLOCK, len(queries.vectors)))
        shared = _shared(queries, documents, block)
        for place, query in enumerate(block):
            rows = near[query]
            if shared is not None:
                rows = np.union1d(rows, np.argpartition(-shared[place], min(count, len(shared[place])) - 1)[:count])
            scores: dict[str, Vectors] = {
                Head.DENSE: exact_scores(queries.vectors[query : query + 1], documents.vectors, rows[None])[0]
            }
            if shared is not None:
                scores[Head.SPARSE] = shared[place][rows]
            if queries.tokens is not None:
                scores[Head.MULTI_VECTOR] = nearest_tokens(queries, query, documents, rows)
            scores[FUSED] = np.sum([weights[Head(head)] * found for head, found in scores.items()], axis=0)
            yield Candidates(rows, scores)


def _shared(queries: HeadTexts, documents: HeadTexts, block: range) -> Vectors | None:
    if queries.weights is None or documents.weights is None:
        return None
    found: Vectors = (queries.weights[block.start : block.stop] @ documents.weights.T).toarray()
    return found


def nearest_tokens(queries: HeadTexts, query: int, documents: HeadTexts, rows: Rows) -> Vectors:
    """Return the mean, over the tokens of a query, of the cosine with the nearest token of each document."""
    assert queries.tokens is not None and documents.tokens is not None
    asked = queries.tokens[queries.starts[query] : queries.ends[query]]
    return compare_tokens(asked, (documents.tokens[documents.starts[row] : documents.ends[row]] for row in rows))


def compare_tokens(asked: TokenVectors, found: Iterable[TokenVectors]) -> Vectors:
    """Return the mean, over the tokens of a query, of the cosine with the nearest token of each text; one at a time."""
    wanted = np.asarray(asked, dtype=np.float32).T
    scores = [
        (tokens.astype(np.float32) @ wanted).max(axis=0).mean() if tokens.size and wanted.size else 0.0
        for tokens in found
    ]
    return np.array(scores, dtype=np.float32)

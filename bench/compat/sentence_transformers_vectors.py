"""Encode texts with a model named by its Hub id; run by bench/compat.py in an environment of its own.

python sentence_transformers_vectors.py REPO TEXTS.json VECTORS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Load by id alone, as the card shows it, and write the vectors."""
    from sentence_transformers import SentenceTransformer

    repo, texts, out = sys.argv[1:]
    # No argument but the id and the processor: what the files say must suffice.
    model = SentenceTransformer(repo, device="cpu")
    vectors = model.encode(json.loads(Path(texts).read_text(encoding="utf-8")))
    Path(out).write_text(json.dumps(vectors.tolist()), encoding="utf-8")


if __name__ == "__main__":
    main()

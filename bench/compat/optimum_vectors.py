"""Encode texts with optimum's ORTModel and the pooling that the card documents; run by bench/compat.py.

python optimum_vectors.py REPO TEXTS.json VECTORS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Mean of the tokens that are no padding, then unit length."""
    import torch
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from transformers import AutoTokenizer

    repo, texts, out = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(repo)
    # Named, since a repo with a quantized copy has two graphs.
    model = ORTModelForFeatureExtraction.from_pretrained(repo, subfolder="onnx", file_name="model.onnx")
    inputs = tokenizer(
        json.loads(Path(texts).read_text(encoding="utf-8")), padding=True, truncation=True, return_tensors="pt"
    )
    hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    Path(out).write_text(json.dumps(vectors.tolist()), encoding="utf-8")


if __name__ == "__main__":
    main()

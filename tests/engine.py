"""A small stand-in for text-embeddings-inference: `python engine.py FOLDER` serves a model's ONNX file over HTTP.

The address, the form of requests and answers and the error for an unknown path are the engine's; the vectors come
from onnx/model.onnx, tokenizer.json and the pooling and normalisation that the folder's configs name.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

# The engine answers there as it does under the first.
PATHS = ("/embed", "/")


class Model:
    """Texts to vectors, by the files alone."""

    def __init__(self, folder: Path) -> None:
        """Read the files that the engine reads."""
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
        assert pooling["pooling_mode_mean_tokens"] is True, "this stand-in knows mean pooling alone"
        limit = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(limit)
        self._session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"))
        self._inputs = {entry.name for entry in self._session.get_inputs()}

    def embed(self, text: str) -> list[float]:
        """Return the unit vector of a text."""
        encoded = self._tokenizer.encode(text)
        inputs = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        tensors = {name: np.array([inputs[name]], dtype=np.int64) for name in self._inputs}
        mean = self._session.run(None, tensors)[0][0].mean(0)
        vector: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return vector


def make_handler(model: Model) -> type[BaseHTTPRequestHandler]:
    """Return what answers requests with the vectors of a model."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Embed one text, or several."""
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            if self.path not in PATHS:
                self._answer(404, {"error": "no such path"})
                return
            texts = [wanted] if isinstance(wanted, str) else wanted
            self._answer(200, [model.embed(text) for text in texts])

        def _answer(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(Model(Path(sys.argv[1]))))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

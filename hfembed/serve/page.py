"""The page at /docs: what the endpoint takes and gives, with examples; it loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
pre { background: #f4f4f2; padding: .8rem; overflow-x: auto; border-radius: 6px }
td { padding: .15rem .8rem .15rem 0; vertical-align: top } h2 { margin-top: 2.2rem; font-size: 1.15rem }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #ddd } pre { background: #24272b } }
"""
PYTHON = """from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="KEY")
answer = client.embeddings.create(model="{model}", input=["first text", "second text"])
asked = client.embeddings.create(model="{model}", input="a question", extra_body={{"input_type": "query"}})"""


def write_page(schema: dict[str, Any], model: str, url: str) -> str:
    """Return the page of an OpenAPI description."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(model)}</title><style>{STYLE}</style>",
            f"<h1>{escape(model)}</h1><p>Embeddings, as OpenAI's clients ask for them. "
            '<a href="/openapi.json">openapi.json</a> describes the same for programs.</p>',
            f"<pre>{escape(PYTHON.format(url=url, model=model))}</pre>",
            *_operations(schema, model, url),
            "</html>",
        ]
    )


def _operations(schema: dict[str, Any], model: str, url: str) -> Iterator[str]:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['description'])}</p>"
            if "requestBody" in operation:
                asked = operation["requestBody"]["content"]["application/json"]["schema"]
                yield f"<table>{''.join(_fields(asked))}</table>"
                yield from (f"<pre>{escape(_curl(url + path, example, model))}</pre>" for example in asked["examples"])
            refused = {status: said["description"] for status, said in operation["responses"].items() if status >= "4"}
            yield f"<table>{''.join(_row(status, words) for status, words in refused.items())}</table>"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        needed = " (required)" if name in schema["required"] else ""
        yield _row(name, f"{field['description']}{needed}")


def _row(name: str, words: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(words)}</td></tr>"


def _curl(url: str, example: dict[str, Any], model: str) -> str:
    body = json.dumps({**example, "model": model})
    return f"curl {url} -H 'Content-Type: application/json' -H 'Authorization: Bearer KEY' -d '{body}'"

"""What the OpenAPI page describes, asked at random: every answer is one that it describes, none a failure."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

EXAMPLES = 15
CHECKS = [
    not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance,
    unsupported_method,
]  # fmt: skip


def test_random_requests_of_the_description_get_answers_of_the_description(endpoint: Any):
    schema = schemathesis.openapi.from_url(f"{endpoint.url}/openapi.json")
    seen: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        seen.add(operation.path)
        modes = list(schemathesis.GenerationMode) if operation.body else [schemathesis.GenerationMode.POSITIVE]
        takes_something = operation.body or operation.path_parameters
        for mode in modes:

            @settings(max_examples=EXAMPLES if takes_something else 1)
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                case.call_and_validate(checks=CHECKS)

            ask()
    assert {"/v1/embeddings", "/v1/models", "/v1/models/{name}", "/metrics", "/health"} <= seen

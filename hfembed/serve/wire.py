"""What is sent and answered: OpenAI's embeddings, read strictly and written without waste."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hfembed.embed import Vectors
from hfembed.serve.refusals import RefusalError, invalid

FORMS = "a string, a list of strings, a list of token ids, or a list of lists of token ids; no list of them empty"


SomeIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """What POST /v1/embeddings takes. What OpenAI does not know of is marked; fields it does not name are passed over."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"model": "MODEL", "input": "no lights and no volts"},
                {"model": "MODEL", "input": ["first", "second"], "encoding_format": "base64"},
                {"model": "MODEL", "input": ["what do they ask?"], "input_type": "query", "dimensions": 128},
            ]
        },
    )

    model: str = Field(description="the model that is served, as /v1/models names it")
    input: str | Annotated[list[str], Field(min_length=1)] | SomeIds | Annotated[list[SomeIds], Field(min_length=1)] = (
        Field(description=FORMS)
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="float when not given; base64 holds little-endian 32-bit floats"
    )
    dimensions: int | None = Field(
        None, ge=1, description="shorter vectors, of a model that was trained to give them (Matryoshka)"
    )
    user: str | None = Field(None, description="read and not kept")
    input_type: str | None = Field(
        None,
        description="not OpenAI's: query (search_query) or document (passage, search_document), or one of the model's "
        "own prompts; puts the model's prompt before every text",
    )
    truncate: Literal["NONE", "END"] | None = Field(
        None, description="not OpenAI's: NONE refuses a text that is longer than the model reads, END cuts it"
    )

    def texts(self) -> list[str] | list[list[int]]:
        """Return what is to be read, as a list in any case."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]  # type: ignore[list-item]
        return self.input  # type: ignore[return-value]


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the model read, those around a text and of a prompt included."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Problem(BaseModel):
    """What went wrong. type and code are what clients switch on; param is the field it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every answer that is no success."""

    error: Problem


def read_request(body: bytes) -> EmbeddingsRequest:
    """Read a request, or refuse it with the field that is wrong."""
    try:
        return EmbeddingsRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None  # the error holds what was sent


def _refusal(error: ValidationError) -> RefusalError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "json_invalid":
        return invalid("The body is not valid JSON.")
    if field is None:
        return invalid("The body must be a JSON object.")
    if first["type"] == "missing":
        return invalid(f"You must provide {field}.", field)
    if field == "input":
        return invalid(f"input must be {FORMS}.", field)
    return invalid(f"{field}: {first['msg']}.", field)


def write_answer(model: str, vectors: Vectors, tokens: int, *, as_base64: bool) -> bytes:
    """Return the answer's bytes."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    values = [b64encode(row.tobytes()).decode("ascii") for row in rows] if as_base64 else rows
    answer: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": value} for at, value in enumerate(values)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

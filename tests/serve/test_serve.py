"""The endpoint as OpenAI's clients see it: vectors, forms of input, and every refusal in their shape."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from serving import NAME, client_of, start, vectors_of

from hfembed.serve.wire import EmbeddingsRequest

TEXTS = [
    "The pump of unit 3 leaks after 6 hours of work.",
    "hinge",
    "Technicians replace part number code1021 before the next flight begins. " * 2,
    "word " * 400,
    "Über – naïve? (don't)",
]


def unit(vectors: Any) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def post(endpoint: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{endpoint.url}/v1/embeddings", timeout=30, **options)


# Vectors


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_vectors_equal_those_of_sentence_transformers(served_run: Path, reference: Any, backend: str):
    with start(served_run, backend=backend) as running:
        answer = client_of(running).embeddings.create(model=NAME, input=TEXTS)
    assert running.service.served.backend == backend
    np.testing.assert_allclose(vectors_of(answer), reference.encode(TEXTS), atol=1e-5)
    assert [row.index for row in answer.data] == list(range(len(TEXTS)))
    read = reference.tokenizer(TEXTS, truncation=True)["input_ids"]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, read))


def test_onnx_is_taken_where_the_model_has_such_a_file_and_torch_where_not(endpoint: Any, tiny_model: Path):
    from hfembed.serve.choices import Wishes
    from hfembed.serve.model import find_served

    assert endpoint.service.served.backend == "onnx"
    assert find_served(str(tiny_model), Wishes()).backend == "torch"


def test_base64_and_float_are_the_same_numbers(endpoint: Any):
    asked = {"model": NAME, "input": TEXTS}
    floats = post(endpoint, json={**asked, "encoding_format": "float"}).json()["data"]
    coded = post(endpoint, json={**asked, "encoding_format": "base64"}).json()["data"]
    for number, code in zip(floats, coded, strict=True):
        decoded = np.frombuffer(base64.b64decode(code["embedding"]), dtype="<f4")
        np.testing.assert_array_equal(decoded, np.array(number["embedding"], dtype=np.float32))


def test_a_string_and_a_list_of_one_are_the_same(endpoint: Any):
    client = client_of(endpoint)
    one = client.embeddings.create(model=NAME, input=TEXTS[0])
    np.testing.assert_array_equal(vectors_of(one), vectors_of(client.embeddings.create(model=NAME, input=TEXTS[:1])))


@pytest.mark.parametrize("around", [False, True], ids=["bare", "with those around a text"])
def test_token_ids_give_the_vector_of_the_text_they_are_of(endpoint: Any, reference: Any, around: bool):
    client = client_of(endpoint)
    ids = [reference.tokenizer(text, add_special_tokens=around)["input_ids"] for text in TEXTS]
    expected = reference.encode(TEXTS)
    np.testing.assert_allclose(vectors_of(client.embeddings.create(model=NAME, input=ids)), expected, atol=1e-5)
    one = client.embeddings.create(model=NAME, input=ids[0])
    np.testing.assert_allclose(vectors_of(one), expected[:1], atol=1e-5)
    asked = client.embeddings.create(model=NAME, input=ids[:2], extra_body={"input_type": "query"})
    np.testing.assert_allclose(vectors_of(asked), reference.encode_query(TEXTS[:2]), atol=1e-5)


@pytest.mark.parametrize("ids", [[1000], [10**9], [-1], "letters"])
def test_ids_of_another_tokenizer_are_refused_instead_of_giving_nonsense(endpoint: Any, reference: Any, ids: Any):
    if isinstance(ids, str):
        ids = [reference.tokenizer.get_vocab()[f"##{letter}"] for letter in "techniciansreplacethebattery"]
    with pytest.raises(openai.BadRequestError) as refused:
        client_of(endpoint).embeddings.create(model=NAME, input=ids)
    assert refused.value.param == "input"
    assert ids == [-1] or "check_embedding_ctx_length" in refused.value.message


@pytest.mark.parametrize(
    ("kinds", "role"),
    [(("query", "search_query"), "query"), (("document", "passage", "search_document"), "document")],
)
def test_input_type_puts_the_models_prompt_before_a_text(endpoint: Any, reference: Any, kinds: Any, role: str):
    expected = getattr(reference, f"encode_{role}")(TEXTS)
    assert np.abs(expected - reference.encode(TEXTS)).max() > 1e-3
    for kind in kinds:
        answer = client_of(endpoint).embeddings.create(model=NAME, input=TEXTS, extra_body={"input_type": kind})
        np.testing.assert_allclose(vectors_of(answer), expected, atol=1e-5)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_trained_dimensions_are_given_with_length_one(endpoint: Any, reference: Any, width: int):
    answer = client_of(endpoint).embeddings.create(model=NAME, input=TEXTS, dimensions=width)
    np.testing.assert_allclose(vectors_of(answer), unit(reference.encode(TEXTS)[:, :width]), atol=1e-5)


def test_dimensions_that_were_not_trained_are_refused_with_those_that_were(endpoint: Any):
    with pytest.raises(openai.BadRequestError, match="8, 16, 32") as refused:
        client_of(endpoint).embeddings.create(model=NAME, input="a", dimensions=12)
    assert refused.value.param == "dimensions" and refused.value.type == "invalid_request_error"


def test_a_model_that_leaves_its_prompt_out_of_what_it_pools_is_served_like_that(served_run: Path, tmp_path: Path):
    import shutil

    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "model"
    shutil.copytree(served_run / "model", folder)
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    theirs = SentenceTransformer(str(folder), device="cpu")
    with start(folder) as running:
        client = client_of(running)
        asked = client.embeddings.create(model="model", input=TEXTS, extra_body={"input_type": "query"})
        np.testing.assert_allclose(vectors_of(asked), theirs.encode_query(TEXTS), atol=1e-5)
        plain = client.embeddings.create(model="model", input=TEXTS)
        np.testing.assert_allclose(vectors_of(plain), theirs.encode(TEXTS), atol=1e-5)
    assert running.service.served.backend == "torch"


def test_long_texts_are_cut_as_the_model_cuts_them_or_refused(served_run: Path, endpoint: Any):
    long = "word " * 1_000
    body = {"model": NAME, "input": ["short", long]}
    assert post(endpoint, json=body).status_code == 200
    refused = post(endpoint, json={**body, "truncate": "NONE"}).json()["error"]
    assert refused["code"] == "context_length_exceeded" and "Text 1 " in refused["message"]
    with start(served_run, {"cuts": False}) as strict:
        assert post(strict, json=body).json()["error"]["code"] == "context_length_exceeded"
        assert post(strict, json={**body, "truncate": "END"}).status_code == 200


# LangChain


def test_langchains_embeddings_class_works(endpoint: Any, reference: Any):
    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(
        model=NAME, base_url=f"{endpoint.url}/v1", api_key="none", check_embedding_ctx_length=False, chunk_size=2
    )
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), reference.encode(TEXTS), atol=1e-5)
    asked = embeddings.embed_query(TEXTS[0], extra_body={"input_type": "query"})
    np.testing.assert_allclose([asked], reference.encode_query(TEXTS[:1]), atol=1e-5)


# Models, health, metrics, description


def test_models_are_listed_and_described(endpoint: Any):
    client = client_of(endpoint)
    (listed,) = client.models.list().data
    assert listed.id == client.models.retrieve(NAME).id == NAME
    assert listed.dimensions == [8, 16, 32] and listed.max_input_tokens == 128
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("org/other")
    assert missing.value.code == "model_not_found"


def test_the_name_may_be_chosen_and_hold_a_slash(served_run: Path):
    with start(served_run, name="org/parts") as running:
        client = client_of(running)
        assert client.models.retrieve("org/parts").id == "org/parts"
        assert client.embeddings.create(model="org/parts", input="a").model == "org/parts"


def test_health_readiness_metrics_and_description_need_no_key(served_run: Path):
    with start(served_run, keys=("k" * 20,)) as running:
        for path in ("/health", "/v1/health/ready", "/v1/health/live", "/docs", "/openapi.json", "/metrics"):
            assert httpx.get(f"{running.url}{path}").status_code == 200, path
        client_of(running, "k" * 20).embeddings.create(model=NAME, input=TEXTS)
        lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    assert 'hfembed_requests_total{status="200"} 1.0' in lines
    assert f"hfembed_texts_total {len(TEXTS)}.0" in lines and "hfembed_cut_texts_total 1.0" in lines
    assert "hfembed_waiting_tokens 0.0" in lines


def test_the_page_shows_every_field_with_examples_and_loads_nothing_from_elsewhere(endpoint: Any):
    page = httpx.get(f"{endpoint.url}/docs", headers={"Host": "a.example<b>"}).text
    assert all(f"<code>{field}</code>" in page for field in EmbeddingsRequest.model_fields)
    assert "POST /v1/embeddings" in page and f"&quot;model&quot;: &quot;{NAME}&quot;" in page
    assert "src=" not in page and "@import" not in page and "<b>" not in page


# Refusals


def test_a_wrong_key_is_refused_and_each_of_several_is_taken(served_run: Path):
    keys = ("first-key-of-two", "sécond-key-of-two")
    with start(served_run, keys=keys) as running:
        for key in keys:
            sent = {"Authorization": f"Bearer {key}".encode()}
            assert post(running, json={"model": NAME, "input": "a"}, headers=sent).status_code == 200
        with pytest.raises(openai.AuthenticationError) as refused:
            client_of(running, "first-key-of-tw").embeddings.create(model=NAME, input="a")
        assert refused.value.code == "invalid_api_key"
        for header in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
            answer = post(running, json={"model": NAME, "input": "a"}, headers=header)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{running.url}/v1/models").status_code == 401
        assert httpx.get(f"{running.url}/v1/models/{NAME}").status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "gpt"}, 404, "model"),
        ({"model": None}, 400, "model"),
        ({"input": []}, 400, "input"),
        ({"input": [[]]}, 400, "input"),
        ({"input": ["a", 1]}, 400, "input"),
        ({"input": {"text": "a"}}, 400, "input"),
        ({"input": [True]}, 400, "input"),
        ({"encoding_format": "hex"}, 400, "encoding_format"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"dimensions": "8"}, 400, "dimensions"),
        ({"input_type": "poem"}, 400, "input_type"),
        ({"truncate": "START"}, 400, "truncate"),
        ({"input": ["a"] * 2049}, 400, "input"),
        ({"input": ["a"] * 2048, "truncate": "END"}, 200, None),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_with_its_field(endpoint: Any, change: Any, status: int, param: str | None):
    answer = post(endpoint, json={"model": NAME, "input": "a", **change})
    assert answer.status_code == status, answer.text[:300]
    if status != 200:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["param"] == param
        assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("DELETE", "/v1/embeddings", {}, 405),
        ("POST", "/v1/embeddings", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/v1/embeddings", {"content": b"[1]", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/v1/embeddings", {"content": b"\xff", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/v1/embeddings", {"json": {"input": "a"}}, 400),
        ("POST", "/v1/embeddings", {"data": {"input": "a"}}, 415),
        ("POST", "/v1/embeddings", {"content": b'{"model": "\\ud800", "input": "\\ud800"}'}, 415),
    ],
)
def test_every_error_has_openais_shape(endpoint: Any, method: str, path: str, options: Any, status: int):
    answer = httpx.request(method, f"{endpoint.url}{path}", **options)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_huge_body_is_refused_whether_it_says_its_size_or_not(served_run: Path):
    with start(served_run, {"body": 10_000}) as running:
        large = json.dumps({"model": NAME, "input": "a" * 20_000}).encode()
        head = {"content-type": "application/json"}
        said = post(running, content=large, headers=head)
        streamed = post(running, content=iter([large[:5_000], large[5_000:]]), headers=head)
        for answer in (said, streamed):
            assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"
        # What is far too large is not read to its end.
        with pytest.raises((httpx.HTTPStatusError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError)):
            post(running, content=iter([b"a" * 2**20] * 64), headers=head).raise_for_status()
        assert post(running, json={"model": NAME, "input": "a"}).status_code == 200


def test_too_many_tokens_are_refused(served_run: Path):
    with start(served_run, {"tokens": 100}) as running:
        error = post(running, json={"model": NAME, "input": ["word " * 60] * 2}).json()["error"]
    assert error["code"] == "context_length_exceeded" and "at most 100" in error["message"]


def test_texts_and_keys_stay_out_of_the_log(served_run: Path, capfd: Any, caplog: Any):
    with start(served_run, keys=("a-very-secret-key",)) as running:
        running.service.engine.compute = lambda texts: 1 / 0
        with pytest.raises(openai.InternalServerError) as failed:
            client_of(running, "a-very-secret-key").embeddings.create(model=NAME, input="whispered words")
        post(running, json={"model": NAME, "input": "whispered words"}, headers={"Authorization": "Bearer wrong-guess"})
    said = caplog.text + "".join(capfd.readouterr())
    assert failed.value.type == "server_error" and "ZeroDivisionError" in said
    assert not any(secret in said for secret in ("whispered", "a-very-secret-key", "wrong-guess"))

"""The application: OpenAI's addresses, health, metrics, and the page that describes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hfembed import __version__
from hfembed.serve.metrics import CONTENT_TYPE
from hfembed.serve.page import write_page
from hfembed.serve.refusals import RefusalError, failed, invalid, no_model, stopping, too_large
from hfembed.serve.service import Service
from hfembed.serve.wire import Embeddings, EmbeddingsRequest, ErrorAnswer, read_request

JSON = "application/json"
EMBEDDINGS = "/v1/embeddings"
# A body up to so many times its limit is read to its end, so that the refusal reaches a client that is still sending.
PATIENCE = 4
SECURED: dict[str, Any] = {"security": [{"key": []}]}
REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": words}
    for status, words in {
        400: "The request cannot be answered as it stands",
        401: "No key, or a wrong one",
        404: "No such model",
        413: "The body is too large",
        415: "The body is no JSON",
        429: "As much waits as may wait; Retry-After says how many seconds to wait",
        500: "Computing failed",
        503: "The server is shutting down",
    }.items()
}

router = APIRouter()


def build_app(service: Service) -> FastAPI:
    """Return the server's application over a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        service.close()

    app = FastAPI(
        title="hfembed",
        version=__version__,
        description=f"Embeddings of `{service.served.name}`, as OpenAI's clients ask for them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(router)
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return schema

    app.openapi = described  # type: ignore[method-assign]
    return app


@router.post(
    EMBEDDINGS,
    response_model=Embeddings,
    responses=REFUSED,
    summary="Embed one text or several",
    openapi_extra={
        "requestBody": {"required": True, "content": {JSON: {"schema": EmbeddingsRequest.model_json_schema()}}},
        **SECURED,
    },
)
async def embeddings(request: Request) -> Response:
    """Return a vector for each text, in their order, of length one unless the model compares by dot product."""
    service: Service = request.app.state.service
    try:
        service.check_key(request.headers.get("authorization"))
        if service.stopping:
            raise stopping()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise RefusalError(415, f"The body must be {JSON}.")
        answer = await service.embed(read_request(await _body(request, service.limits.body)))
    except RefusalError as error:
        service.metrics.answered(error.status)
        raise
    service.metrics.answered(200)
    # While the server stops, clients had better not send their next request here.
    return Response(answer, media_type=JSON, headers={"Connection": "close"} if service.stopping else None)


@router.get("/v1/models", responses={401: REFUSED[401]}, summary="List the model", openapi_extra=SECURED)
async def models(request: Request) -> dict[str, Any]:
    """Return the model that is served, with what may be asked of it."""
    service: Service = request.app.state.service
    service.check_key(request.headers.get("authorization"))
    return {"object": "list", "data": [_describe(service)]}


@router.get(
    "/v1/models/{name:path}",
    responses={401: REFUSED[401], 404: REFUSED[404]},
    summary="Describe the model",
    openapi_extra=SECURED,
)
async def model(name: str, request: Request) -> dict[str, Any]:
    """Return the model by its name."""
    service: Service = request.app.state.service
    service.check_key(request.headers.get("authorization"))
    if name != service.served.name:
        raise no_model(name, service.served.name)
    return _describe(service)


@router.get("/v1/health/live", summary="Whether the server runs")
@router.get("/health", summary="Whether the server runs")
async def health() -> dict[str, str]:
    """Answer as long as the server runs."""
    return {"status": "ok"}


@router.get("/v1/health/ready", responses={503: REFUSED[503]}, summary="Whether requests are accepted")
async def ready(request: Request) -> dict[str, Any]:
    """Answer while requests are accepted; what balances load stops sending them where this is 503."""
    if request.app.state.service.stopping:
        raise stopping()
    return {"object": "health.response", "message": "Service is ready.", "status": "ok"}


@router.get("/metrics", summary="Counts and times for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return what Prometheus scrapes."""
    return Response(request.app.state.service.metrics.exposition(), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Return a page that says what is taken and given."""
    name = request.app.state.service.served.name
    page = write_page(request.app.openapi(), name, str(request.base_url).rstrip("/"))
    return Response(page, media_type="text/html")


def _describe(service: Service) -> dict[str, Any]:
    return {
        "id": service.served.name,
        "object": "model",
        "created": service.started,
        "owned_by": "hfembed",
        "dimensions": service.dimensions,
        "max_input_tokens": service.engine.tokens.limit,
        "input_types": sorted({"query", "document", *service.engine.prompts}),
    }


async def _body(request: Request, limit: int) -> bytes:
    """Return a request's body, or refuse one that is too large without keeping it."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > PATIENCE * limit:
        raise too_large(limit, closes=True)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        if size > PATIENCE * limit:
            raise too_large(limit, closes=True)
    if size > limit:
        raise too_large(limit)
    return b"".join(parts)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusalError)
    return JSONResponse(error.body, error.status, error.headers)


async def _not_valid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    refused = invalid(str(first["msg"]), str(first["loc"][-1]))
    return JSONResponse(refused.body, refused.status)


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    refused = RefusalError(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}.")
    return JSONResponse(refused.body, refused.status, dict(error.headers or {}))


async def _failed(_: Request, __: Exception) -> JSONResponse:
    refused = failed()
    return JSONResponse(refused.body, refused.status)

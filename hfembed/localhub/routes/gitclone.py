"""git clone and git fetch over HTTP: the smart protocol, spoken by dulwich in this process."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from io import BytesIO
from typing import IO, cast

from dulwich.protocol import ReceivableProtocol
from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend, UploadPackHandler
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from hfembed.localhub.access import WEB_REPO, ReadableRepo, TheSite
from hfembed.localhub.errors import bad_request
from hfembed.localhub.wire import read_body

router = APIRouter()
_REQUEST_LIMIT = 64 << 20
_ANSWER_IN_MEMORY = 8 << 20
_BLOCK = 1 << 20
_NO_PUSH = (
    "git push is not served here: this Hub takes commits through its API. "
    "Run: hf upload {name} . --repo-type {kind}, or use upload_folder of huggingface_hub.\n"
)
_NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}


def _converse(repo: Repo, question: bytes, answer: IO[bytes], advertise: bool) -> None:
    """Let dulwich answer one request of a git client."""
    protocol = ReceivableProtocol(BytesIO(question).read, answer.write)
    backend = DictBackend({b"/": cast(BackendRepo, repo)})
    handler = UploadPackHandler(
        backend, cast("list[str]", [b"/"]), protocol, stateless_rpc=True, advertise_refs=advertise
    )
    if advertise:
        protocol.write_pkt_line(b"# service=git-upload-pack\n")
        protocol.write_pkt_line(None)
    handler.handle()


@router.get(WEB_REPO + "/info/refs")
def references(request: Request, site: TheSite, record: ReadableRepo) -> Response:
    """Tell a git client what there is."""
    if request.query_params.get("service") != "git-upload-pack":
        # git shows its user a refusal in plain text, and no other.
        return PlainTextResponse(_NO_PUSH.format(name=record.full_name, kind=record.kind.value), 403)
    answer = BytesIO()
    with site.open_git(record) as repo:
        _converse(repo, b"", answer, advertise=True)
    return Response(answer.getvalue(), 200, _NO_CACHE, "application/x-git-upload-pack-advertisement")


@router.post(WEB_REPO + "/git-upload-pack")
async def upload_pack(request: Request, site: TheSite, record: ReadableRepo) -> Response:
    """Send a git client what it lacks."""
    question = await read_body(request, _REQUEST_LIMIT)
    if request.headers.get("Content-Encoding") == "gzip":
        with gzip.GzipFile(fileobj=BytesIO(question)) as stream:
            question = stream.read(_REQUEST_LIMIT)
            if stream.read(1):
                raise bad_request("The request is too large.")
    # A large pack goes by way of the disk.
    answer = tempfile.SpooledTemporaryFile(_ANSWER_IN_MEMORY, dir=str(site.root / "incoming"))  # noqa: SIM115

    def run() -> None:
        with site.open_git(record) as repo:
            _converse(repo, question, cast("IO[bytes]", answer), advertise=False)

    await run_in_threadpool(run)
    answer.seek(0)
    return StreamingResponse(_blocks(cast("IO[bytes]", answer)), 200, _NO_CACHE, "application/x-git-upload-pack-result")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while block := stream.read(_BLOCK):
            yield block

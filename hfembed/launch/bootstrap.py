"""Bootstrap: the first thing a job runs, on a bare machine; it travels as text and knows the standard library alone.

It fetches the wheel that was sent with the run, installs it with the versions that were sent, and becomes the worker.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

MARK = "hfembed-event "
SECRETS = ("HF_TOKEN", "HFEMBED_JOB_TOKEN")
TRIES, LONGEST_WAIT = 12, 15.0
# A process for each GPU; what is left out accelerate would guess and warn of. Port 0: one that is free.
TOGETHER = [
    "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--main_process_port", "0",
    "--mixed_precision", "no", "--dynamo_backend", "no",
]  # fmt: skip
LOST = (408, 429, 500, 502, 503, 504)


class SameHost(HTTPRedirectHandler):
    """Follows redirects, but shows the token only to the host it belongs to."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        """Return the next request, without the token where it leads elsewhere."""
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            found.remove_header("Authorization")
        return found


def tell(message: str) -> None:
    """Say what is being done, in the form in which the run's own events come."""
    event = {"kind": "note", "stage": "launch", "message": message, "time": time.time()}
    sys.stdout.write(MARK + json.dumps(event) + "\n")
    sys.stdout.flush()


def fetch(address: str, file: Path) -> None:
    """Download a file of the run's repo; a Hub that does not answer is asked again for a few minutes."""
    opener = build_opener(SameHost)
    headers = {"Authorization": "Bearer " + os.environ["HF_TOKEN"]} if os.environ.get("HF_TOKEN") else {}
    for attempt in range(1, TRIES + 1):
        try:
            with opener.open(Request(address, headers=headers), timeout=60) as answer, file.open("wb") as copy:
                shutil.copyfileobj(answer, copy)
            return
        except HTTPError as error:
            if error.code not in LOST or attempt == TRIES:
                raise SystemExit(f"The Hub answers {error.code} for {address}: may this token read it?") from None
        except (URLError, OSError) as error:
            if attempt == TRIES:
                raise SystemExit(f"{address} cannot be reached: {error}") from None
        time.sleep(min(LONGEST_WAIT, 2.0**attempt / 2))


def install(wheel: Path, constraints: Path, extras: str, work: Path) -> tuple[str, dict[str, str]]:
    """Return the Python to run with and its environment, once the wheel and all it needs can be imported by it."""
    wanted = f"hfembed[{extras}] @ {wheel.as_uri()}"
    limits = ["--constraint", str(constraints)]
    quiet = {name: value for name, value in os.environ.items() if name not in SECRETS}
    check = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-index", *limits, wanted]
    if subprocess.run(check, env=quiet, capture_output=True).returncode == 0:
        tell("all libraries are here: putting the wheel in front of them")
        site = work / "site"
        zipfile.ZipFile(wheel).extractall(site)  # which is all that installing a wheel of pure Python is
        paths = [str(site), os.environ.get("PYTHONPATH", "")]
        return sys.executable, {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    home = work / "environment"
    python = str(home / "bin" / "python")
    uv = shutil.which("uv")
    tell(f"installing hfembed and its libraries with {'uv' if uv else 'pip'}")
    if uv:
        steps = [[uv, "venv", "--quiet", str(home)], [uv, "pip", "install", "--quiet", "--python", python]]
    else:
        create = [sys.executable, "-m", "venv", "--system-site-packages", str(home)]
        steps = [create, [python, "-m", "pip", "install", "--quiet"]]
    subprocess.run(steps[0], env=quiet, check=True)
    # Which torch fits is a matter of the hardware; where its own index cannot be reached, the usual one has one too.
    for backend in ({"UV_TORCH_BACKEND": "auto"}, {}):
        if subprocess.run([*steps[1], *limits, wanted], env={**quiet, **backend}).returncode == 0:
            return python, {}
    raise SystemExit(f"hfembed[{extras}] could not be installed here; the lines above say why.")


def main(repo: str, bundle: str, wheel: str, constraints: str, extras: str, processes: str) -> None:
    """Fetch, install, and become the worker of a run."""
    work = Path(tempfile.mkdtemp(prefix="hfembed-", dir="." if os.access(".", os.W_OK) else None)).resolve()
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    tell("fetching the code that was sent")
    for name in (f"{bundle}/{wheel}", constraints):
        fetch(f"{endpoint}/datasets/{repo}/resolve/main/{name}", work / Path(name).name)
    python, environment = install(work / wheel, work / Path(constraints).name, extras, work)
    many = [*TOGETHER, "--num_processes", processes, "-m"] if int(processes) > 1 else []
    command = [python, "-m", *many, "hfembed", "work", "--repo", repo, "--folder", str(work / "launch")]
    os.execve(python, command, {**os.environ, **environment})


if __name__ == "__main__":
    main(*sys.argv[1:])

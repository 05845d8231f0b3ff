"""Cluster: work through Ray Data, on this machine's cores and GPUs or on a cluster by its address."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import socket
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from hfembed.batches import gather
from hfembed.engine.contract import Work
from hfembed.engine.parcel import Parcel
from hfembed.engine.worker import BLOCK, FAILED, MADE, NUMBER, Worker, work_on
from hfembed.errors import EngineError, HfembedError, InputError, MissingExtraError, first_line
from hfembed.events import Reporter

if TYPE_CHECKING:
    from ray.data import Dataset

B = TypeVar("B")
M = TypeVar("M")

AUTO = "auto"
CLIENT = "ray://"
ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
PATIENCE = 10.0
# How much input lies in Ray's object store at a time: what waits there is bounded, however large the corpus.
WAVE_BYTES = 256 * 2**20
# How often a block is given to another worker when its own died.
RETRIES = 3
STORE_MB = 1_024
# What Ray does otherwise than by itself: it reports nothing home, and sends nothing along.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # they are all there is to wait for: on a busy machine Ray's 15 would starve them
}
# What of the environment the workers of this machine get. A token or key is never among it: they need none.
INHERITED = re.compile(
    r"PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SHELL|XDG_\w+|VIRTUAL_ENV|CONDA_\w+|LD_LIBRARY_PATH|SYSTEMROOT"
    r"|(?:PYTHON|OMP|MKL|OPENBLAS|NUMEXPR|TORCH|CUDA|NVIDIA|ONEDNN|RAY|TOKENIZERS|TQDM|HF_HUB_OFFLINE)\w*"
    r"|DISABLE_TQDM|HF_HOME|HFEMBED_CACHE|COVERAGE_\w+"
)
SECRET = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD|CREDENTIALS?)(?:_|$)")


class Cluster:
    """Ray: started here when the first work comes, or reached at an address."""

    spreads = True

    def __init__(self, address: str | None = None) -> None:
        """Refuse what cannot work before anything is begun. address: `auto` or HOST:PORT."""
        _require_ray()
        if address is not None and address != AUTO:
            _refuse_silent(address)
        self._address = address
        self._mine = False

    def map(
        self, work: Work[B, M], blocks: Iterable[B], count: int, report: Reporter, processes: int = 1
    ) -> Iterator[M]:
        """Yield what is made of each block, in order. A single one is done here: there is nothing to spread."""
        if count < 2:
            yield from map(work, blocks)
            return
        self._connect(report)
        parcel, done = self._pack(work), 0
        packed = (pickle.dumps(block, protocol=pickle.HIGHEST_PROTOCOL) for block in blocks)
        for wave in gather(packed, len, WAVE_BYTES):
            yield from self._work(parcel, work.on_gpu, wave, done, count, report.stage)
            done += len(wave)

    def close(self) -> None:
        """Leave the cluster; end it, where it was started here."""
        if self._mine:
            import ray

            ray.shutdown()
            self._mine = False

    def _connect(self, report: Reporter) -> None:
        import ray

        if self._mine and ray.is_initialized():
            return
        if ray.is_initialized():
            raise InputError("This process works with Ray already.", "Start hfembed in a process of its own.")
        with _environment(inherits_all=self._address is not None), _signals():
            try:
                ray.init(address=self._address or "local", **self._options())
            except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                ray.shutdown()
                where = f"The cluster at '{self._address}'" if self._address else "Ray on this machine"
                raise EngineError(
                    f"{where} did not start to work: {first_line(error)}",
                    "Where the cluster asks for a token: RAY_AUTH_MODE=token. Look with: ray status --address ADDRESS.",
                ) from error
        self._mine = True
        _hush()
        cores, gpus = _resources()
        machines = len([node for node in ray.nodes() if node["Alive"]])
        report.note(
            f"working with Ray: {cores:,} cores{f' and {gpus:,} GPUs' if gpus else ''} of "
            f"{'this machine' if self._address is None else f'{machines:,} machine' + 's' * (machines != 1)}"
        )

    def _options(self) -> dict[str, Any]:
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self._address is not None:
            return quiet
        return {**quiet, "include_dashboard": False, "num_cpus": _cores(), "object_store_memory": STORE_MB * 2**20}

    def _pack(self, work: Work[Any, Any]) -> tuple[str, Any]:
        import ray

        parcel = Parcel.of(work, None if self._sees_all() else ray.put)
        return parcel.key, ray.put(parcel)

    def _sees_all(self) -> bool:
        """Tell whether every worker is on this machine."""
        import ray

        if self._address is None:
            return True
        own = ray.util.get_node_ip_address()
        return all(node["NodeManagerAddress"] == own for node in ray.nodes() if node["Alive"])

    def _work(
        self, parcel: tuple[str, Any], on_gpu: bool, wave: list[bytes], first: int, count: int, doing: str
    ) -> Iterator[Any]:
        from ray.exceptions import RayError

        expected = first
        tables = _dataset(parcel, on_gpu, wave, first, doing).iter_batches(batch_size=None, batch_format="pyarrow")
        try:
            for table in tables:
                for number, made, failed in zip(table[NUMBER], table[MADE], table[FAILED], strict=True):
                    assert number.as_py() == expected, "Ray gave the blocks in another order"
                    expected += 1
                    if failed.is_valid:
                        error: HfembedError = pickle.loads(failed.as_buffer())
                        raise error
                    yield pickle.loads(made.as_buffer())
        except RayError as error:
            raise _lost(error, doing, expected, count) from error


def _dataset(parcel: tuple[str, Any], on_gpu: bool, wave: list[bytes], first: int, doing: str) -> Dataset:
    """Return the blocks of a wave with what is to be made of them, as Ray Data sees it."""
    import ray

    rows = [{NUMBER: first + at, BLOCK: block} for at, block in enumerate(wave)]
    cores, gpus = _resources()
    key, reference = parcel
    told = {"key": key, "parcel": [reference], "doing": doing}
    options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
    blocks = ray.data.from_items(rows, override_num_blocks=len(rows))
    if on_gpu and gpus:
        # An actor keeps its GPU and the model on it; tasks would have to load it again for every block.
        return blocks.map_batches(
            Worker, fn_constructor_kwargs=told, num_gpus=1, concurrency=min(gpus, len(wave)), **options
        )
    with warnings.catch_warnings():
        # By itself Ray Data would give a block to new workers for ever, and the only way to say so is on its way out.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        # Processes of tasks are kept from one map to the next, with what they have opened.
        return blocks.map_batches(
            work_on, fn_kwargs=told, num_cpus=1, concurrency=min(cores, len(wave)), max_retries=RETRIES, **options
        )


def _lost(error: Exception, doing: str, reached: int, count: int) -> EngineError:
    words = str(error)
    if "No module named 'hfembed" in words:
        return EngineError(
            "A machine of the cluster has no hfembed.", 'Install it on every one: pip install "hfembed[ray,train]"'
        )
    return EngineError(
        f"{doing}: a worker of Ray was lost after {reached:,} of {count:,} blocks, and so were {RETRIES} in its place "
        f"({type(error).__name__}: {first_line(error)[:300]})",
        "Most often memory: fewer cores for Ray, or --engine local. The same command goes on where it stopped.",
    )


def _require_ray() -> None:
    missing = [name for name in ("ray", "pandas") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"--engine ray needs '{missing[0]}', which is not installed.", 'pip install "hfembed[ray]"'
        )


def _refuse_silent(address: str) -> None:
    """Refuse an address that nobody answers at: Ray itself would try for minutes."""
    if address.startswith(CLIENT):
        raise InputError(
            f"'{address}' is for Ray's client, which Ray Data does not work through.",
            "Give the command on a machine of the cluster: --ray-address auto",
        )
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(f"'{address}' is no address of a cluster of Ray.", "--ray-address auto, or HOST:6379")
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"No cluster answers at '{address}': {first_line(error)}",
            "Start one there with: ray start --head. Without --ray-address this machine's cores do the work.",
        ) from error


def _resources() -> tuple[int, int]:
    """Return the cores and GPUs of the cluster."""
    import ray

    found = ray.cluster_resources()
    return max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _environment(*, inherits_all: bool) -> Iterator[None]:
    """Start Ray's processes without the keys of this one; they live as long as it does."""
    before = dict(os.environ)
    for name in list(os.environ):
        if not inherits_all and (not INHERITED.fullmatch(name) or SECRET.search(name)):
            del os.environ[name]
    os.environ.update(SETTINGS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update({**before, **SETTINGS})  # Ray Data reads them whenever it works


@contextmanager
def _signals() -> Iterator[None]:
    """Keep what this process does when it is told to end: Ray would put its own in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hush() -> None:
    """Have Ray tell nothing by itself: what counts comes back with the work, and stdout is the command's."""
    import ray
    import ray._private.worker
    import ray.data

    for name in ("ray", "ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Its own debugger silences the errors of workers in the same way; there is no public switch.
    ray._private.worker._worker_logs_enabled = False
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True

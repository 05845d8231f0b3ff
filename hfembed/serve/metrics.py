"""What Prometheus is told: counts, times and what waits; never a text or a key."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server."""

    def __init__(self, model: str, backend: str, waiting: Callable[[], tuple[int, int]]) -> None:
        """Count from zero. waiting: asked how many texts and tokens wait."""
        self._registry = registry = CollectorRegistry()
        Gauge("hfembed_model_info", "The model served.", ["model", "backend"], registry=registry).labels(
            model, backend
        ).set(1)
        self._requests = Counter(
            "hfembed_requests", "Requests for embeddings, by the status of their answer.", ["status"], registry=registry
        )
        self._seconds = Histogram(
            "hfembed_request_seconds", "Seconds from a request to its vectors.", buckets=SECONDS, registry=registry
        )
        self._texts = Counter("hfembed_texts", "Texts computed.", registry=registry)
        self._tokens = Counter("hfembed_tokens", "Tokens computed, padding not counted.", registry=registry)
        self._padding = Counter("hfembed_padding_tokens", "Tokens computed in vain, as padding.", registry=registry)
        self._cut = Counter("hfembed_cut_texts", "Texts longer than the model reads, that were cut.", registry=registry)
        self._batches = Histogram("hfembed_batch_seconds", "Seconds of a batch.", buckets=SECONDS, registry=registry)
        texts = Gauge("hfembed_waiting_texts", "Texts accepted and not computed yet.", registry=registry)
        texts.set_function(lambda: waiting()[0])
        tokens = Gauge("hfembed_waiting_tokens", "Tokens accepted and not computed yet.", registry=registry)
        tokens.set_function(lambda: waiting()[1])

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._requests.labels(str(status)).inc()

    def embedded(self, seconds: float, cut: int) -> None:
        """Count a request that got its vectors, and how many of its texts were cut."""
        self._seconds.observe(seconds)
        if cut:
            self._cut.inc(cut)

    def computed(self, texts: int, tokens: int, padding: int, seconds: float) -> None:
        """Count a batch."""
        self._texts.inc(texts)
        self._tokens.inc(tokens)
        self._padding.inc(padding)
        self._batches.observe(seconds)

    def exposition(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)

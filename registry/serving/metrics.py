"""What /metrics says, in Prometheus' text format; one set of counters for each application."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServingMetrics:
    """Counters, gauges and histograms of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "requests", "Requests answered, by run and status.", ["run", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "request_seconds",
            "From the request's body to its answer.",
            ["run"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "batch_examples", "Encoded texts in a forward pass.", ["run"], buckets=EXAMPLES, registry=self.registry
        )
        self.tokens = Counter(
            "padded_tokens", "Tokens that went through the model, padding included.", ["run"], registry=self.registry
        )
        self.refused = Counter(
            "requests_refused", "Requests refused before any work.", ["status"], registry=self.registry
        )
        self.in_flight = Gauge("requests_in_flight", "Requests being answered.", registry=self.registry)
        self.queue = Gauge("queue_tokens", "Tokens that wait for the model.", ["run"], registry=self.registry)

    def text(self) -> bytes:
        """The exposition that Prometheus scrapes."""
        return generate_latest(self.registry)

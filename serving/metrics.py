"""What Prometheus can read of the gateway: requests, latency, money, rungs, arms and which release answers.

One registry per app, so that two gateways in one process (tests) do not count into each other. Labels are
closed sets (routes, rungs, arms, languages): nothing that a caller chooses becomes a label.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """All series of one gateway; counters of money are in whole nano-dollars."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.requests = Counter(
            "palier_http_requests",
            "Requests by route and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "palier_http_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.answers = Counter(
            "palier_answers",
            "Questions answered, by the rung whose answer was given.",
            ["rung", "arm", "language", "abstained"],
            registry=registry,
        )
        self.blocked = Counter(
            "palier_blocked", "Questions that the guard refused.", ["kind", "language"], registry=registry
        )
        self.failures = Counter("palier_failures", "Questions not answered.", ["arm", "code"], registry=registry)
        self.cost = Counter("palier_cost_nanousd", "Cost of all attempts, in 1e-9 USD.", ["arm"], registry=registry)
        self.reference_cost = Counter(
            "palier_reference_cost_nanousd",
            "Estimate of what the reference rung alone would have cost, in 1e-9 USD.",
            ["arm"],
            registry=registry,
        )
        self.degraded = Counter(
            "palier_degraded", "Answers given without a part that failed.", ["part"], registry=registry
        )
        self.open_questions = Gauge(
            "palier_open_questions", "Questions running or waiting for a thread.", registry=registry
        )
        self.shadow_dropped = Counter(
            "palier_shadow_dropped",
            "Copies for the challenger dropped, its queue being full.",
            registry=registry,
        )
        self.canary_share = Gauge(
            "palier_canary_share",
            "Share of the traffic that the challenger answers, 0 to 1.",
            registry=registry,
        )
        self.release_info = Gauge(
            "palier_release_info", "1 for each release in memory.", ["release_id", "role"], registry=registry
        )

    def show_releases(self, roles: Iterable[tuple[str, str]]) -> None:
        """Make the release series say exactly ``roles``: pairs of release id and role."""
        self.release_info.clear()
        for release_id, role in roles:
            self.release_info.labels(release_id, role).set(1)

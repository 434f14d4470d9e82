"""Figures of a worker, as Prometheus reads them at ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

#: Different reasons of dead letters that are counted by themselves; more of them are "other".
_MOST_REASONS = 100


class Metrics(Collector):
    """The figures of one worker, in a registry of their own.

    Labels: `partition` is that of the topic `looks`, a region each; `source` the id of a source.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.looks = self._counter("looks", "Looks fused", "partition", "source")
        self.detections = self._counter("detections", "Detections in the looks fused", "partition", "source")
        self.updates = self._counter("track_updates", "Track updates published", "partition")
        self.repeats = self._counter("repeated_looks", "Looks that a decoder sent again, not fused", "partition")
        self.duplicates = self._counter("duplicate_looks", "Looks with an id that is known, not fused", "partition")
        self.feed_records = self._counter("feed_records", "Records of feeds decoded", "topic")
        self.feed_looks = self._counter("decoded_looks", "Looks decoded", "topic")
        self.dead_letters = self._counter("dead_letters", "Records that could not be used", "topic", "reason")
        self.transactions = self._counter("transactions", "Chunks committed", "partition")
        self.tracks = self._gauge("tracks", "Live tracks", "partition", "status")
        self.lag = self._gauge("input_lag_records", "Records between what is done and the end", "topic", "partition")
        self.recovery_seconds = self._gauge(
            "recovery_seconds", "How long the last taking over took", "topic", "partition"
        )
        self.partitions = self._gauge("assigned_partitions", "Partitions that this worker has", "topic")
        self._last_look_s: dict[str, float] = {}
        self._reasons: set[str] = set()
        self.registry.register(self)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"apss_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"apss_{name}", text, labels, registry=self.registry)

    def note_look(self, source: str, time_s: float) -> None:
        """A look of a source was fused; its time, seconds since 1970."""
        self._last_look_s[source] = max(time_s, self._last_look_s.get(source, time_s))

    def count_dead_letter(self, topic: str, reason: str) -> None:
        """Count a dead letter by what stands in front of the first colon of its reason."""
        short = reason.partition(":")[0]
        if short not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            short = "other"
        self._reasons.add(short)
        self.dead_letters.labels(topic, short).inc()

    def forget(self, topic: str, partition: str) -> None:
        """A partition is no longer ours: what is said of its present is gone."""
        for gauge in (self.lag, self.recovery_seconds):
            if (topic, partition) in gauge._metrics:
                gauge.remove(topic, partition)

    def forget_tracks(self, partition: str) -> None:
        """A region is no longer ours: its tracks are counted by others."""
        for labels in [labels for labels in self.tracks._metrics if labels[0] == partition]:
            self.tracks.remove(*labels)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The time of the last look by source, and how old it is now."""
        last = GaugeMetricFamily("apss_last_look_time_seconds", "Time of a source's last look", labels=["source"])
        age = GaugeMetricFamily("apss_last_look_age_seconds", "How old a source's last look is", labels=["source"])
        now_s = time.time()
        for source, time_s in sorted(self._last_look_s.items()):
            last.add_metric([source], time_s)
            age.add_metric([source], now_s - time_s)
        return [last, age]

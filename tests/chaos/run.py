"""One run: fresh topics, workers, a load, what is done to them, quiet, and the comparison with the reference."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from random import Random
from types import TracebackType

import msgspec
from kafka.admin import ConfigResource, ConfigResourceType

from apss_fusion.model import Detection, Look
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming.clients import admin_client
from apss_fusion.streaming.deployment import read_deployment
from apss_fusion.streaming.settings import Settings, read_settings
from apss_fusion.streaming.topic_admin import apply_topics
from apss_fusion.streaming.topic_data import topic_specs

from . import world
from .load import Load, produce
from .records import Place, Records, read
from .reference import Comparison, Counts, decode_feeds
from .watch import Watch
from .workers import Worker

FORMATS = ("ais-nmea", "looks")
START_S = 60.0
_QUIET_S = 90.0
#: A place, (lat, lon), about which only the rest is.
_OF_THE_REST = (-40.0, -20.0)
_STAYS_S = 1.5


class Result(msgspec.Struct):
    """What is printed of a run, as one line of JSON."""

    run: str
    seconds: float
    counts: Counts
    #: Processes that were begun, and faults.
    starts: int
    faults: int
    #: The longest time from a fault until nothing was behind any more.
    settled_s: float | None
    #: What is not as it should be; shared with the run.
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return self.counts.good and not self.notes

    def line(self) -> str:
        """The line."""
        values = {"run": self.run, "ok": self.ok, "seconds": round(self.seconds, 1)}
        values |= msgspec.to_builtins(self.counts)
        settled_s = None if self.settled_s is None else round(self.settled_s, 1)
        values |= {"starts": self.starts, "faults": self.faults, "settled_s": settled_s}
        return msgspec.json.encode(values | ({"notes": self.notes} if self.notes else {})).decode()


class Run:
    """A deployment on a cluster of its own names, used as a context.

    Parameters
    ----------
    name
        Of the run; the prefix of its topics is made of it.
    bootstrap, folder
        The cluster; where files go.
    seed, vessels, speed
        Of the load.
    formats, replication, feed_partitions, worker, regions
        Of the settings; of the worker as lines of TOML.
    """

    def __init__(
        self,
        name: str,
        bootstrap: str,
        folder: Path,
        *,
        seed: int = 1,
        vessels: int = 12,
        speed: float = 30.0,
        formats: Iterable[str] = FORMATS,
        replication: int = 1,
        feed_partitions: int = 2,
        worker: str = "",
        regions: str | None = None,
    ) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)
        self.r = Random(f"{name} {seed}")
        self.config = self.folder / "worker.toml"
        (self.folder / "sources.toml").write_text(world.SOURCES_TOML)
        (self.folder / "regions.toml").write_text(regions or world.regions_toml())
        self.config.write_text(
            f'bootstrap = "{bootstrap}"\nsources = "sources.toml"\nregions = "regions.toml"\n'
            f"formats = {list(formats)}\n"
            f"[kafka]\nsession_timeout_s = 6.0\n"
            f'[topics]\nprefix = "{name}-{seed}-{round(time.time() * 1e3) % 10**8:x}."\n'
            f"replication_factor = {replication}\nfeed_partitions = {feed_partitions}\n"
            f"[worker]\nhttp_port = 0\nsnapshot_records = 200\n{worker}\n"
            f'[engine]\nfilter = "fast"\nlag_s = {world.LAG_S}\n'
        )
        self.settings: Settings = read_settings(str(self.config), {})
        self.deployment = read_deployment(self.settings)
        apply_topics(self.settings, len(self.deployment.regions), lambda line: None)
        self.feeds = {self.settings.topic(f"feeds.{name}"): feed_partitions for name in formats}
        self._of_load = seed, vessels, speed
        self.load, self.watch = self._load(), self._watch()
        self.workers: list[Worker] = []
        self._ended: list[Worker] = []
        self.notes: list[str] = []
        self._began_s = time.monotonic()

    def _load(self) -> Load:
        return Load(self.settings, self.deployment.regions, *self._of_load)

    def _watch(self) -> Watch:
        topic = self.settings.topic
        # Of the other feeds, no look tells how far they are done.
        feeds = {topic(f"feeds.{name}"): self.settings.topics.feed_partitions for name in FORMATS}
        regions = len(self.deployment.regions)
        return Watch(self.settings.bootstrap, topic("looks"), topic("fuse-changelog"), regions, feeds)

    def begin_anew(self) -> None:
        """Topics and load from nothing, once the load has been stopped and the cluster's data is gone."""
        self.watch.stop()
        apply_topics(self.settings, len(self.deployment.regions), lambda line: None)
        self.load, self.watch = self._load(), self._watch()
        self.watch.start()
        self.load.start()

    # ------------------------------------------------------------------ workers

    def begin(self, count: int, home: bool = False) -> list[Worker]:
        """Start workers, then the load, and wait until they keep up with it."""
        workers = [self.start_worker(home=home) for _ in range(count)]
        self.load.start()
        self.settle()
        return workers

    def start_worker(self, wait: bool = True, home: bool = False, **environment: str) -> Worker:
        """Start one more worker, and wait until it has taken over partitions; with `home`, where its files can be seen."""
        log = self.folder / f"worker{self.begun}.log"
        worker = Worker(self.config, log, self.folder / "home" if home else None, **environment)
        self.workers.append(worker)
        if wait:
            worker.await_partitions(START_S)
        return worker

    def drop(self, worker: Worker) -> None:
        """Count a worker that has ended, and forget it."""
        self.workers.remove(worker)
        self._ended.append(worker)

    @property
    def begun(self) -> int:
        """How many workers were started."""
        return len(self.workers) + len(self._ended)

    @property
    def starts(self) -> int:
        """How many processes all workers have begun."""
        return sum(worker.starts for worker in [*self.workers, *self._ended])

    # ------------------------------------------------------------------ the load

    def burst(self, count: int, detections_each: int) -> None:
        """Produce so many long looks at once, and short ones behind them; all of one region."""
        place, rows = (self.settings.topic("feeds.looks"), 0), []
        for k in range(2 * count):
            name = f"burst-{k}"
            lat, lon = _OF_THE_REST
            detections = tuple(
                Detection(
                    detection_id=f"{name}-{n}", lat=lat + 0.01 * (n % 10), lon=lon + 0.01 * (n // 10), domain="SEA"
                )
                for n in range(detections_each if k < count else 1)
            )
            time = world.T0 + timedelta(seconds=self.load.arrived_s + k)
            look = Look(look_id=name, source_id="coast", time=time, detections=detections)
            rows.append((*place, b"area0", look_json(look).rstrip(), []))
        produce(self.settings.bootstrap, *rows)

    # ------------------------------------------------------------------ time

    def wait(self, seconds: float) -> None:
        """Let the load go on for a while."""
        until_s = time.monotonic() + seconds
        while (rest_s := until_s - time.monotonic()) > 0:
            self.check()
            time.sleep(min(rest_s, 0.1))

    def wait_until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for something that has to come; AssertionError where it does not."""
        until_s = time.monotonic() + seconds
        while not condition():
            self.check()
            assert time.monotonic() < until_s, f"not within {seconds:g} s: {what}"
            time.sleep(0.05)

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until nothing is behind."""
        self.wait_until(lambda: not self.watch.behind(), seconds, "all that has arrived is done")

    def require(self, holds: bool, text: str) -> None:
        """Note what does not hold: the run is not good."""
        if not holds:
            self.notes.append(text)

    def check(self) -> None:
        """AssertionError where the load or a worker has ended."""
        if self.load.error is not None:
            raise self.load.error
        for worker in self.workers:
            assert worker.status is None, f"a worker ended with status {worker.status}: {worker.log[-2000:]}"

    # ------------------------------------------------------------------ the end

    def finish(self) -> Result:
        """Stop the load, wait until all is done, stop the workers, and compare."""
        ended_s = time.monotonic()
        self.load.stop()
        partitions = {**self.feeds, self.settings.topic("looks"): len(self.deployment.regions)}
        feeds = read(self.settings.bootstrap, self.feeds)
        decoded = decode_feeds(self.deployment, feeds)
        ends: dict[Place, int] = {}
        for (place, _), looks in decoded.looks.items():
            ends[place] = max(ends.get(place, 0), looks[-1].origin[0] + 1)
        notes = self.notes
        try:
            self.wait_until(lambda: self._stays_done(ends), _QUIET_S, "all is done after the load has ended")
        except AssertionError as error:
            notes.append(str(error))
        settled_s = self.watch.settled_s(ended_s)
        self.watch.stop()
        for worker in self.workers:
            status = worker.stop()
            if status != 0:
                notes.append(f"a worker ended with status {status} on SIGTERM")
        regions = len(self.deployment.regions)
        partitions |= {self.settings.topic(name): regions for name in ("tracks", "fuse-changelog")}
        partitions[self.settings.topic("deadletters")] = self.settings.topics.feed_partitions
        committed = read(self.settings.bootstrap, partitions)
        uncommitted = read(self.settings.bootstrap, {self.settings.topic("tracks"): regions}, committed=False)
        comparison = Comparison(self.deployment, decode_feeds(self.deployment, _of(committed, self.feeds)))
        counts = comparison.compare(committed, uncommitted)
        notes += comparison.notes
        seconds = time.monotonic() - self._began_s
        return Result(self.name, seconds, counts, self.starts, self.watch.faults, settled_s, notes)

    def _stays_done(self, ends: dict[Place, int]) -> bool:
        """Whether all is done, and nothing is decoded again a moment later."""
        if not self._is_done(ends):
            return False
        time.sleep(_STAYS_S)
        return self._is_done(ends)

    def _is_done(self, ends: dict[Place, int]) -> bool:
        looks = self.settings.topic("looks")
        done = self.watch.done
        if any(done.get(place, 0) < end for place, end in ends.items()):
            return False
        last = self.watch.ends
        return all(done.get(place, 0) >= end for place, end in last.items() if place[0] == looks)

    def __enter__(self) -> Run:
        self.watch.start()
        return self

    def alter(self, topic: str, **configs: str) -> None:
        """Set configurations of a topic, by Kafka's names with _ for dots; an empty text: as it was at first."""
        values = {name.replace("_", "."): value for name, value in configs.items()}
        specs = {spec.topic.name: spec for spec in topic_specs(self.settings, len(self.deployment.regions))}
        values = {name: value or specs[topic].configs[name] for name, value in values.items()}
        with admin_client(self.settings) as client:
            resource = ConfigResource(ConfigResourceType.TOPIC, self.settings.topic(topic), configs=values)
            answer = client.alter_configs([resource])
        assert set(answer["topic"].values()) == {"OK"}, answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            if worker.status is None:
                worker.end()
        self.load.abandon()
        self.watch.stop()
        if error is not None:
            print(f"{self.name}: see {self.folder}", file=sys.stderr)


def _of(records: Records, topics: Iterable[str]) -> Records:
    names = set(topics)
    return {place: found for place, found in records.items() if place[0] in names}

"""What is done to workers while the load goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from apss_fusion.feeds.registry import decoders
from deploy.kafka import Cluster

from .poison import Poisoner
from .records import read
from .run import Result, Run
from .workers import Worker


class Bench(NamedTuple):
    """What a scenario gets."""

    cluster: Cluster
    folder: Path
    #: How long faults go on.
    seconds: float
    seed: int

    def run(self, name: str, **options: object) -> Run:
        """A run on the cluster."""
        return Run(name, self.cluster.bootstrap, self.folder, seed=self.seed, **options)  # type: ignore[arg-type]


Scenario = Callable[[Bench], Result]

#: Between every two steps of a worker; after so many passes.
POINTS = (
    ("taking_over", 1),
    ("decoded", 9),
    ("looks_sent", 1),
    ("snapshot_sent", 2),
    ("fused", 1),
    ("outputs_sent", 7),
    ("changes_sent", 1),
    ("before_commit", 7),
    ("committed", 1),
    ("looks_sent", 9),
    ("committed", 7),
)
#: Where a worker is stopped, to go on when another one has its partitions.
STOP_POINTS = ("before_commit", "outputs_sent", "looks_sent", "taking_over")
_FAIL_S = 60.0


def kill(bench: Bench) -> Result:
    """Two workers, of which one or the other is killed at random times; now and then its supervisor, and another comes."""
    with bench.run("kill") as run:
        run.begin(2)
        spent_s, kills = 0.0, 0
        while spent_s < bench.seconds:
            worker = run.r.choice(run.workers)
            run.watch.fault()
            kills += 1
            if kills % 5 == 3:
                worker.kill_supervisor()
                run.drop(worker)
                run.start_worker(wait=False)
            else:
                worker.kill()
            if kills % 4 == 1:
                run.settle()
            pause_s = run.r.choice((run.r.uniform(0.5, 3.0), run.r.uniform(5.0, 12.0)))
            run.wait(pause_s)
            spent_s += pause_s
        run.settle()
        return run.finish()


def fail_points(bench: Bench, points: Sequence[tuple[str, int]] = POINTS) -> Result:
    """A worker dies between two steps, each time between two others, and the next one comes; a second worker is there."""
    with bench.run("fail-points") as run:
        run.begin(1)
        for point, count in points:
            worker = _fail(run, point, count, "KILL")
            worker.end()
            run.drop(worker)
        run.settle()
        return run.finish()


def frozen(bench: Bench, points: Sequence[str] = STOP_POINTS) -> Result:
    """A worker stops in the midst, longer than its session lasts; another takes over; the first goes on where it was."""
    with bench.run("frozen") as run:
        (other,) = run.begin(1)
        for point in points:
            before = other.takeovers
            worker = _fail(run, point, 1 if point == "taking_over" else 3, "STOP")
            run.wait_until(lambda n=before: other.takeovers > n + 1, _FAIL_S, "another worker takes over")  # type: ignore[misc]
            run.settle()
            worker.signal(signal.SIGCONT)
            run.wait(3.0)
            run.settle()
            worker.end()
            run.drop(worker)
        return run.finish()


def poison(bench: Bench) -> Result:
    """Records that nobody can use, on every topic of feeds and on that of looks: dead letters, and all else goes on."""
    names = [decoder.name for decoder in decoders()]
    with bench.run("poison", formats=names, feed_partitions=1) as run:
        run.begin(1)
        poisoner = Poisoner(run)
        run.watch.fault()
        poisoner.feeds()
        poisoner.looks()
        run.settle()
        result = run.finish()
        place = {run.settings.topic("deadletters"): 1}
        told = {r.key.decode() for records in read(run.settings.bootstrap, place).values() for r in records}
        missing = sorted(set(poisoner.must) - told)
        run.require(not missing, f"no dead letter tells of {missing[:9]}")
        run.require(run.starts == run.begun, "a worker ended by itself")
        return result


def _fail(run: Run, point: str, count: int, how: str) -> Worker:
    """Start a worker that gets a signal at a fail point, and wait until it did."""
    once = run.folder / f"{point}-{count}-{how}"
    variables = {"APSS_FAIL_AT": f"{point}:{count}", "APSS_FAIL_SIGNAL": how, "APSS_FAIL_ONCE": str(once)}
    worker = run.start_worker(wait=False, **variables)
    run.wait_until(once.exists, _FAIL_S, f"pass {count} of {point}")
    run.watch.fault()
    return worker


def rebalances(bench: Bench) -> Result:
    """Workers come and go in order; none may end by itself."""
    with bench.run("rebalances") as run:
        run.begin(1)
        spent_s = 0.0
        while spent_s < bench.seconds:
            run.watch.fault()
            if len(run.workers) < 2 or (len(run.workers) < 3 and run.r.random() < 0.5):
                run.start_worker()
            else:
                worker = run.r.choice(run.workers)
                status = worker.stop()
                run.require(status == 0, f"a worker ended with status {status} on SIGTERM")
                run.drop(worker)
            pause_s = run.r.uniform(1.0, 8.0)
            run.wait(pause_s)
            spent_s += pause_s
        run.settle()
        result = run.finish()
        ended = run.starts - run.begun
        run.require(ended == 0, f"{ended} workers ended by themselves")
        return result

"""What is done to brokers, and to the logs that they keep, while the load goes on."""

from __future__ import annotations

import time

from apss_fusion.streaming.clients import admin_client

from . import world
from .records import read
from .run import START_S, Result, Run
from .scenarios import Bench
from .workers import Worker

_HANG_S = 10.0
#: A deployment's changelog that is compacted while one looks on.
_QUICKLY_COMPACTED = {
    "segment_ms": "2000",
    "min_cleanable_dirty_ratio": "0.01",
    "max_compaction_lag_ms": "2000",
    "delete_retention_ms": "500",
}


def broker_kill(bench: Bench) -> Result:
    """The only broker is killed and comes back, at random times."""
    with bench.run("broker-kill") as run:
        run.begin(2)
        until_s = time.monotonic() + bench.seconds
        while time.monotonic() < until_s:
            run.watch.fault()
            bench.cluster.kill()
            run.wait(run.r.uniform(0.0, 4.0))
            bench.cluster.start()
            run.settle()
            run.wait(run.r.uniform(1.0, 5.0))
        return run.finish()


def broker_hang(bench: Bench) -> Result:
    """The only broker answers nothing for ten seconds; shorter than a session, too."""
    with bench.run("broker-hang") as run:
        run.begin(2)
        until_s = time.monotonic() + bench.seconds
        for hang_s in (_HANG_S, 3.0, _HANG_S, 1.0, _HANG_S):
            if time.monotonic() > until_s:
                break
            run.watch.fault()
            bench.cluster.pause()
            try:
                run.wait(hang_s)
            finally:
                bench.cluster.resume()
            run.settle()
            run.wait(run.r.uniform(1.0, 5.0))
        return run.finish()


def leader_loss(bench: Bench) -> Result:
    """Of three brokers, the one that leads a partition of the looks is killed and comes back, then another one's."""
    with bench.run("leader-loss", replication=3) as run:
        run.begin(2)
        until_s = time.monotonic() + bench.seconds
        topics = ("looks", "tracks", "fuse-changelog", "feeds.looks")
        for number in range(8):
            if time.monotonic() > until_s:
                break
            node = leader(run, topics[number % len(topics)], number % 2)
            run.watch.fault()
            bench.cluster.kill(node)
            run.wait(run.r.uniform(4.0, 8.0))
            bench.cluster.start(node)
            run.settle()
            run.wait_until(lambda: all_in_sync(run), 60.0, "all replicas are in sync")
        return run.finish()


def leader(run: Run, topic: str, partition: int) -> int:
    """The node that leads a partition."""
    with admin_client(run.settings) as client:
        (described,) = client.describe_topics([run.settings.topic(topic)])
    return int(next(p["leader_id"] for p in described["partitions"] if p["partition_index"] == partition))


def all_in_sync(run: Run) -> bool:
    """Whether all topics have all their replicas."""
    names = [run.settings.topic(name) for name in ("looks", "tracks", "fuse-changelog")]
    with admin_client(run.settings) as client:
        described = client.describe_topics([*names, "__transaction_state", "__consumer_offsets"])
    return all(len(p["isr_nodes"]) == len(p["replica_nodes"]) for topic in described for p in topic["partitions"])


def refused(bench: Bench) -> Result:
    """For a while the broker refuses what a worker sends to one topic or another, for its size."""
    with bench.run("refused") as run:
        run.begin(2)
        for topic in ("tracks", "fuse-changelog", "decode-changelog"):
            run.watch.fault()
            run.alter(topic, max_message_bytes="100")
            starts = run.starts
            run.wait_until(lambda n=starts: run.starts > n, 60.0, f"a worker ends that may not write to {topic}")  # type: ignore[misc]
            run.alter(topic, max_message_bytes="")
            run.settle()
        _refuse_first_batch(run)
        return run.finish()


def _refuse_first_batch(run: Run) -> None:
    """Of what a new producer sends at once, the first batch is refused and the second one would be taken."""
    run.load.stop()
    run.settle()
    for worker in list(run.workers):
        worker.stop()
        run.drop(worker)
    run.watch.fault()
    run.burst(30, 100)
    run.alter("looks", max_message_bytes="500000")
    worker = run.start_worker(wait=False)
    run.wait_until(lambda: worker.starts > 2, 90.0, "a worker ends twice that may not write to looks")
    run.alter("looks", max_message_bytes="")
    run.start_worker()
    run.settle()


def compaction(bench: Bench) -> Result:
    """The changelog is compacted again and again, and read after each time; a region has no looks at all."""
    regions = (
        world.regions_toml() + f'\n[regions.empty]\npartition = {len(world.CELLS) + 1}\ncells = ["83f293fffffffff"]\n'
    )
    with bench.run("compaction", regions=regions) as run:
        run.alter("fuse-changelog", **_QUICKLY_COMPACTED)
        run.alter("decode-changelog", **_QUICKLY_COMPACTED)
        run.begin(2)
        until_s = time.monotonic() + bench.seconds
        while time.monotonic() < until_s:
            before = _kept_share(run)
            run.wait_until(lambda n=before: _kept_share(run) < min(n, 0.5), 60.0, "the changelog is compacted")  # type: ignore[misc]
            run.watch.fault()
            for worker in run.workers:
                worker.kill()
            run.settle()
        run.require(_kept_share(run) < 0.5, "the changelog was not compacted")
        return run.finish()


def _kept_share(run: Run) -> float:
    """Which share of all records of the changelog is still there."""
    partitions = {run.settings.topic("fuse-changelog"): len(run.deployment.regions)}
    found = read(run.settings.bootstrap, partitions)
    count, ends = 0, 0
    for records in found.values():
        count += len(records)
        ends += records[-1].offset + 1 if records else 0
    return count / ends if ends else 1.0


def wiped(bench: Bench) -> Result:
    """A worker keeps nothing on its disk. The cluster is wiped, which a worker tells in a line; with topics, all is anew."""
    with bench.run("wiped") as run:
        run.begin(1, home=True)
        left = sorted(path for path in (run.folder / "home").rglob("*") if path.is_file())
        run.require(not left, f"a worker has left files: {left[:3]}")
        run.load.stop()
        for worker in list(run.workers):
            # A cluster that was wiped is another one.
            worker.stop()
            run.drop(worker)
        bench.cluster.wipe()
        bench.cluster.start()
        without = Worker(run.config, run.folder / "without-topics.log")
        status = without.wait(START_S)
        if status is None:
            without.end()
        lines = without.log.strip().splitlines()
        run.require(status == 2, f"without topics, a worker ends with status {status}")
        run.require(len(lines) == 1 and "missing" in lines[0], f"without topics, a worker says {lines}")
        run.watch.fault()
        run.begin_anew()
        run.start_worker(home=True)
        run.settle(120.0)
        return run.finish()

"""``python -m tests.chaos``: faults under load, one after the other, a line of JSON for each; status 1 where any is not right."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import msgspec

from deploy.kafka import Cluster, Unavailable

from . import broker_scenarios as brokers
from . import scenarios as workers
from .scenarios import Bench, Scenario

#: By name: what is done, how long faults go on, s, and on how many brokers.
SCENARIOS: dict[str, tuple[Scenario, float, int]] = {
    "kill": (workers.kill, 60.0, 1),
    "fail-points": (workers.fail_points, 0.0, 1),
    "frozen": (workers.frozen, 0.0, 1),
    "rebalances": (workers.rebalances, 40.0, 1),
    "poison": (workers.poison, 0.0, 1),
    "refused": (brokers.refused, 0.0, 1),
    "compaction": (brokers.compaction, 30.0, 1),
    "broker-kill": (brokers.broker_kill, 40.0, 1),
    "broker-hang": (brokers.broker_hang, 45.0, 1),
    "leader-loss": (brokers.leader_loss, 60.0, 3),
    "wiped": (brokers.wiped, 0.0, 1),
}
#: What lives for minutes starts in half the time where Java compiles no more than it must.
_JAVA_OPTIONS = ("-Xmx384m", "-XX:TieredStopAtLevel=1")


class OutOfTimeError(Exception):
    """The whole has taken too long."""


def main() -> int:
    """Run what was chosen."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--seconds", type=float, help="how long faults go on, where that is not given by their number")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long all may take (%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the moments of faults (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files go, and stay")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - SCENARIOS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 60.0 * chosen.minutes)
    clusters: dict[int, Cluster] = {}
    good = True
    try:
        for name in chosen.names or SCENARIOS:
            good &= _run(name, folder, chosen.seconds, chosen.seed, clusters)
    except Unavailable as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    except OutOfTimeError:
        print(f"chaos: not done within {chosen.minutes:g} minutes", file=sys.stderr)
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for cluster in clusters.values():
            cluster.close()
        if good and not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def _run(name: str, folder: Path, seconds: float | None, seed: int, clusters: dict[int, Cluster]) -> bool:
    scenario, usual_s, nodes = SCENARIOS[name]
    if nodes not in clusters:
        for others in clusters.values():
            # Brokers that nobody needs now take the processor from those that are needed.
            others.stop()
        clusters[nodes] = Cluster(folder / f"kafka{nodes}", nodes=nodes, java_options=_JAVA_OPTIONS, tied=True)
    clusters[nodes].start()
    began_s = time.monotonic()
    try:
        result = scenario(Bench(clusters[nodes], folder, usual_s if seconds is None else seconds, seed))
    except AssertionError as error:
        values = {"run": name, "ok": False, "seconds": round(time.monotonic() - began_s, 1), "notes": [str(error)]}
        print(msgspec.json.encode(values).decode(), flush=True)
        return False
    print(result.line(), flush=True)
    return result.ok


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTimeError


if __name__ == "__main__":
    sys.exit(main())

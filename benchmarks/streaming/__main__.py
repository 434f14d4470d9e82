"""Workers beside a broker: ``python -m benchmarks.streaming [NAME...]``, as markdown.

The broker runs on the same computer, on another core than the worker where there are two.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring import machine
from benchmarks.streaming import endurance, latency, throughput

TABLES: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "throughput": throughput.table,
    "latency": latency.table,
    "start": endurance.start,
    "takeover": endurance.takeover,
    "memory": endurance.memory,
}
#: What is measured where nothing is named: all but half an hour of load.
USUAL = ("throughput", "latency", "start", "takeover")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLES)}; all but memory by default")
    parser.add_argument("--looks", type=int, default=400_000, help="of the table throughput")
    parser.add_argument("--tracks", type=int, default=100_000, help="of the table start")
    parser.add_argument("--seconds", type=float, default=60.0, help="of steady load, table latency")
    parser.add_argument("--minutes", type=float, default=30.0, help="of load, table memory")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in TABLES:
            parser.error(f"{name}: there is no such table; {', '.join(TABLES)} are")
    print(machine(), flush=True)
    for name in options.names or USUAL:
        with TemporaryDirectory(prefix="apss-") as folder:
            TABLES[name](Path(folder), options)


if __name__ == "__main__":
    main()

"""All measurements, as markdown: ``python -m benchmarks [NAME...] [--full] [--feed PATH...]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import ais, engine, files, late, memory, parts, start, state
from benchmarks.measuring import FULL, USUAL, Sizes, machine

TABLES: dict[str, Callable[[Sizes], None]] = {
    "engine": engine.tables,
    "files": files.tables,
    "ais": ais.tables,
    "memory": memory.tables,
    "start": start.tables,
    "state": state.tables,
    "parts": parts.tables,
    "late": late.tables,
}


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> None:
    """Print the tables that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print measurements as markdown.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(TABLES)}; all where none is named")
    parser.add_argument("--full", action="store_true", help="also 100,000 ships, 500,000 objects, 1,000,000 tracks")
    feed_help = "a recorded file (.gz): of AIS sentences for the table ais, of any known format for the table late"
    parser.add_argument("--feed", action="append", default=[], type=Path, help=feed_help)
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in TABLES:
            parser.error(f"{name}: there is no such table; {', '.join(TABLES)} are")
    for feed in options.feed:
        if not feed.is_file():
            parser.error(f"--feed {feed}: no such file")
    with_feeds = {"ais": partial(ais.tables, feeds=options.feed), "late": partial(late.tables, feeds=options.feed)}
    tables = TABLES | with_feeds
    print("One thread, CPU time; the median of three where it is short.\n")
    print(machine(), flush=True)
    for name in options.names or TABLES:
        tables[name](sizes or (FULL if options.full else USUAL))


if __name__ == "__main__":
    main()

"""How things are measured and printed: CPU time of one thread, medians of three, tables as markdown."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

#: What takes longer, in CPU seconds, is measured once.
SHORT_S = 4.0
_T = TypeVar("_T")


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is measured."""

    #: (ships, scans) of each dense sea.
    sea: tuple[tuple[int, int], ...] = ((1_000, 20), (10_000, 20))
    #: (objects, reports) of each feed of reports.
    reports: tuple[tuple[int, int], ...] = ((50_000, 300_000),)
    #: Of the feeds that are read from files: (ships, scans) and (objects, reports).
    file_sea: tuple[int, int] = (10_000, 20)
    file_reports: tuple[int, int] = (50_000, 300_000)
    #: AIS messages that are made.
    nmea: int = 50_000
    #: Tracks whose memory is measured, each number in a process of its own.
    memory: tuple[int, ...] = (100_000,)
    #: Tracks that are saved and loaded.
    saved: int = 100_000
    #: (objects, reports) and (ships, scans) on which the parts are weighed, and rows that are rounded.
    part_reports: tuple[int, int] = (10_000, 100_000)
    part_sea: tuple[int, int] = (5_000, 12)
    rows: int = 100_000
    #: (ships, seconds) of the open ocean and of the port whose reports come late.
    late_ocean: tuple[int, float] = (1_000, 12_600.0)
    late_port: tuple[int, float] = (200, 1_500.0)


#: What takes minutes.
USUAL = Sizes()
#: All of it.
FULL = Sizes(
    sea=((1_000, 20), (10_000, 20), (100_000, 12)),
    reports=((50_000, 400_000), (500_000, 1_200_000)),
    memory=(100_000, 1_000_000),
    late_ocean=(5_000, 18_000.0),
    late_port=(200, 3_600.0),
)


def machine() -> str:
    """One line on where this is measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} x {model}, load average {load}"


def cpu_of(action: Callable[[], _T]) -> tuple[float, _T]:
    """CPU seconds of this process that an action takes, and what it gives."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def cpu_of_children(action: Callable[[], object]) -> float:
    """CPU seconds of the processes that an action starts and waits for."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start = used()
    action()
    return used() - start


def median(measure: Callable[[], tuple[float, _T]]) -> tuple[float, _T]:
    """Of three measurements the one with the middle first number; the first alone where it took longer than `SHORT_S`."""
    first = measure()
    if first[0] > SHORT_S:
        return first
    return sorted([first, measure(), measure()], key=lambda one: one[0])[1]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print a table of markdown, each row as soon as it is there."""
    _line(f"\n### {title}\n")
    for note in notes:
        _line(f"{note}\n")
    _line("| " + " | ".join(columns) + " |")
    _line("|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|")
    for row in rows:
        _line("| " + " | ".join(_text(cell) for cell in row) + " |")


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        # Three digits, and whole thousands.
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)

"""Blind association on recorded feeds: ``python -m benchmarks.blind --data DIR [NAME...]``.

Identities are taken from the detections, every tracker sees the same ones, and who was who scores them. Trackers: the engine
with its defaults and the built-in sources; a nearest neighbour with a gate of 99 % and a constant velocity filter; and Stone
Soup's global nearest neighbour, where ``make rivals`` has made its environment. Rivals get the engine's own measurement
noise, and for each feed the process noise and the deletion time that gave them the best adjusted Rand index.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apss_fusion.geodesy.wgs84 import geodetic
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.blind_feeds import RECORDINGS, BlindFeed, Recording, sources_of
from benchmarks.blind_scores import Scores, scores
from benchmarks.measuring import cpu_of, machine, table
from benchmarks.rivals.plots import Plots
from benchmarks.side_by_side import SETTING_KEY, SETTINGS, in_process, rival_python

#: Looks in the order of their times, none late: each detection's track is decided once. Tentative tracks own detections too.
OURS: dict[str, Any] = {"lag_s": 0.0, "hold_back": True, "tentative": True}
GATE = 0.99
#: Looks that are fused beforehand, so that the kernels are there.
_WARM_LOOKS = 50


class Tuning(NamedTuple):
    """Of a constant velocity tracker: velocity noise density in m^2/s^3, and the silence that ends a track."""

    q: float
    delete_s: float


#: Of both rivals, which associate alike: the best by adjusted Rand index of the nearest neighbour, tried on the feed itself: 6 to
#: 60 pairs a feed, q from 0.003 to 5 (sea) and 60 to 4,000 (air), silences from 8 s to 20 minutes.
TUNING = {
    "solent": Tuning(0.7, 35.0),
    "harbour": Tuning(0.1, 600.0),
    "cadastre": Tuning(0.003, 600.0),
    "opensky": Tuning(200.0, 50.0),
    "traffic": Tuning(2000.0, 200.0),
    "gmti": Tuning(3.0, 60.0),
    "autoferry": Tuning(0.3, 12.0),
}
#: Sigma of a new object's speed on each axis, m/s, as in the engine's defaults.
BIRTH_SPEED_MPS = {"SEA": 7.0, "AIR": 150.0, "GROUND": 12.0}


class Result(NamedTuple):
    """What a tracker did on a feed."""

    scores: Scores
    cpu_s: float


def ours(feed: BlindFeed, setting: str) -> tuple[dict[str, str], float]:
    """The most likely track of each detection, by detection_id, and the engine's CPU seconds."""
    config = Config.of(OURS | {SETTING_KEY: setting})
    sources = sources_of(feed.looks)
    Engine(config, sources).process_many(feed.looks[:_WARM_LOOKS])
    engine = Engine(config, sources)
    cpu_s, updates = cpu_of(lambda: [engine.process_many(feed.looks), engine.flush()])
    best: dict[str, tuple[float, str]] = {}
    for batch in updates:
        for update in batch:
            for evidence in update.evidence:
                if evidence.weight > best.get(evidence.detection_id, (0.0, ""))[0]:
                    best[evidence.detection_id] = evidence.weight, update.track_id
    return {detection: track for detection, (_, track) in best.items()}, cpu_s


def plots_of(feed: BlindFeed) -> tuple[Plots, list[str]]:
    """The feed's detections with the engine's measurement noise, and their ids, in the order of the looks."""
    batch = Engine(Config.of(OURS), sources_of(feed.looks)).encode(feed.looks)
    z = batch.detections
    scan = np.repeat(np.arange(len(batch)), batch.looks["count"])
    lat, lon = geodetic(np.stack([z["x"], z["y"], z["z"]], 1))
    rest = (z[name].copy() for name in Plots._fields[4:])
    return Plots(scan, batch.looks["t"][scan] + z["dt"], lat, lon, *rest), [
        batch.detection_id(j) for j in range(len(z))
    ]


def rival(
    python: Path | str, module: str, feed: BlindFeed, tuning: Tuning, domain: str
) -> tuple[dict[str, int], float]:
    """The track of each detection by a tracker of `benchmarks.rivals` in its own process, and its CPU seconds."""
    plots, ids = plots_of(feed)
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name) / "plots.npz", Path(name) / "out.json"
        plots.save(file)
        options = {
            "q": tuning.q,
            "delete-s": tuning.delete_s,
            "birth-speed-mps": BIRTH_SPEED_MPS[domain],
            "gate": GATE,
        }
        in_process(python, module, [str(file), str(out), *(f"--{key}={value}" for key, value in options.items())])
        result = json.loads(out.read_text())
    return dict(zip(ids, result["owners"], strict=True)), result["cpu_s"]


def scored(feed: BlindFeed, owners: dict[str, Any]) -> Scores:
    """Scores over the detections that are somebody's, in the order of time."""
    names = [d.detection_id for look in feed.looks for d in look.detections if d.detection_id in feed.objects]
    return scores([feed.objects[name] for name in names], [owners.get(name) for name in names])


def results(name: str, feed: BlindFeed, setting: str, stone_soup: Path | None) -> dict[str, Result | None]:
    """What each tracker did, by its name; None for one that was left out."""
    domain = RECORDINGS[name].domain
    owners, cpu_s = ours(feed, setting)
    out: dict[str, Result | None] = {"ours": Result(scored(feed, owners), cpu_s)}
    numbers, cpu_s = rival(sys.executable, "benchmarks.rivals.nearest", feed, TUNING[name], domain)
    out["nearest"] = Result(scored(feed, numbers), cpu_s)
    out["Stone Soup"] = None
    if stone_soup is not None and RECORDINGS[name].short:
        numbers, cpu_s = rival(stone_soup, "benchmarks.rivals.stone_soup_plots", feed, TUNING[name], domain)
        out["Stone Soup"] = Result(scored(feed, numbers), cpu_s)
    return out


def _row(name: str, recording: Recording, data: Path, setting: str, stone_soup: Path | None) -> list[Any]:
    feed = recording.read([data / file for file in recording.files])
    row: list[Any] = [recording.title, len(feed.objects), len(set(feed.objects.values()))]
    for result in results(name, feed, setting, stone_soup).values():
        if result is None:
            row += ["-"] * 5
        else:
            s = result.scores
            row += [f"{s.ari:.3f}", s.switches, f"{s.purity:.3f}", s.tracks, result.cpu_s]
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.blind", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECORDINGS)}; all where none is named")
    feeds = os.environ.get("APSS_FUSION_FEEDS")
    parser.add_argument("--data", type=Path, default=feeds, help="folder of the recorded feeds (or APSS_FUSION_FEEDS)")
    parser.add_argument("--setting", choices=SETTINGS, default=SETTINGS[0], help="setting of the engine's filter")
    parser.add_argument("--without-stone-soup", action="store_true", help="leave Stone Soup out: it takes minutes")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in RECORDINGS:
            parser.error(f"{name}: there is no such feed; {', '.join(RECORDINGS)} are")
    if options.data is None or not options.data.is_dir():
        parser.error(f"--data {options.data or ''}: no folder of recorded feeds")
    print(machine(), flush=True)
    _print(options.names or list(RECORDINGS), options)


def _print(names: Sequence[str], options: argparse.Namespace) -> None:
    stone_soup = None if options.without_stone_soup else rival_python()
    there = [n for n in names if all((options.data / file).is_file() for file in RECORDINGS[n].files)]
    notes = [
        f"Ours: setting {options.setting}, defaults, built-in sources, looks in the order of time (hold_back, lag 0, "
        "tentative too).",
        f"Nearest neighbour and Stone Soup GNN: constant velocity, gate {GATE:.0%}, the same measurement noise; "
        + "; ".join(f"{n} q {TUNING[n].q:g} m²/s³, deleted after {TUNING[n].delete_s:g} s" for n in there)
        + ".",
        "A detection without a track counts as one of its own. Purity: detections of their track's most frequent object.",
    ]
    notes += [f"Left out, {n}: not in {options.data}." for n in names if n not in there]
    columns = ["feed", "detections", "objects"]
    for tracker in ("ours", "nearest", "Stone Soup"):
        columns += [f"{tracker}: {what}" for what in ("ARI", "switches", "purity", "tracks", "CPU s")]

    def rows() -> Iterator[list[Any]]:
        for name in there:
            yield _row(name, RECORDINGS[name], options.data, options.setting, stone_soup)

    start = time.monotonic()
    table("Blind association", columns, rows(), notes)
    print(f"\n{time.monotonic() - start:,.0f} s in all", flush=True)


if __name__ == "__main__":
    main()

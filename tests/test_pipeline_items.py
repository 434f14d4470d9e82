"""Inputs that are decoded item by item, where arrays cannot hold some of the looks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_runs import Run, feed, lines, look, received, report, run, small_chunks, write

import apss_fusion.feeds
from apss_fusion.feeds.registry import decoders

#: Lines of looks as they are: nothing of them is checked before they go into arrays.
DECODER = """
from datetime import datetime
import msgspec
from apss_fusion.feeds.base import Decoder, Ignored, lines
from apss_fusion.model import Detection, Look, Source

class AsTheyAre(Decoder):
    name = "as-they-are"
    title = "looks, unchecked"
    source = Source(modality="AIS", max_latency_s=60.0)

    @classmethod
    def recognises(cls, head):
        return False

    def items(self, stream):
        for number, line in lines(stream):
            if line.startswith(b"#"):
                yield Ignored("a comment")
            else:
                values = msgspec.json.decode(line)
                for key in {"time", "time_received"} & set(values):
                    values[key] = msgspec.convert(values[key], datetime)
                detections = tuple(Detection(**one) for one in values.pop("detections"))
                yield Look(**values, detections=detections)
"""
COUNTED = ("records_in", "records_used", "records_ignored", "duplicates", "late", "dead_letters", "detections_rejected")


@pytest.fixture(autouse=True)
def as_they_are(tmp_path: Path) -> Iterator[None]:
    """One more place where formats are looked for."""
    folder = tmp_path / "more_feeds"
    folder.mkdir()
    (folder / "as_they_are.py").write_text(DECODER, encoding="utf-8")
    apss_fusion.feeds.__path__.append(str(folder))
    importlib.invalidate_caches()
    decoders.cache_clear()
    yield
    apss_fusion.feeds.__path__.remove(str(folder))
    sys.modules.pop("apss_fusion.feeds.as_they_are", None)
    vars(apss_fusion.feeds).pop("as_they_are", None)
    decoders.cache_clear()


def bad_look(name: str, seconds: float, arrival: float) -> dict[str, Any]:
    return look(name, "ais", seconds, {"lat": 50.0, "lon": -1.1}, p_detect=7.0, **received(arrival))


def bad_detections(name: str, seconds: float, arrival: float) -> dict[str, Any]:
    seen = [{"lat": 95.0, "lon": 0.0}, {"lat": 49.0, "lon": 0.0}, {"lat": 49.1, "lon": 0.0, "speed_mps": -1.0}]
    return look(name, "ais", seconds, *seen, **received(arrival))


def mixed() -> list[bytes]:
    """The feed with comments, looks that cannot be used (one says that it arrived long after all), and bad detections."""
    rows = lines(feed())
    for k, at in enumerate(range(0, len(rows) + 12, 4)):
        (bad,) = lines([bad_look(f"bad{k}", 2.0 * k, 10_000.0 if k == 2 else 2.0 * k)])
        rows.insert(at, bad)
    rows[7:7] = lines([bad_detections("odd0", 9.0, 10.0)])
    rows[30:30] = lines([bad_detections("odd1", 90.0, 100.0)])
    rows[3:3] = rows[21:21] = rows[40:40] = [b"# a comment\n"]
    return rows


def test_looks_that_cannot_be_used_do_not_move_the_clock_of_their_input(tmp_path: Path) -> None:
    """Of two files the one with an absurd arrival in it is merged as if that look were not there. Broken by counting it."""
    quick = [report(0, float(t)) for t in range(0, 200, 10)]
    slow = [report(1, float(t)) for t in range(0, 200, 10)]
    other = write(tmp_path / "other", lines(slow))
    config = {"lag_s": 30.0}
    plain = run(tmp_path / "a", write(tmp_path / "plain", lines(quick)), other, format="as-they-are", config=config)
    assert plain.summary["late"] == 0
    spoilt = [*quick[:5], bad_look("bad", 41.0, 150.0), *quick[5:]]
    one = run(tmp_path / "b", write(tmp_path / "spoilt", lines(spoilt)), other, format="as-they-are", config=config)
    assert (one.summary["late"], one.summary["dead_letters"]) == (0, 1)
    assert one.tracks == plain.tracks
    assert one.pictures == plain.pictures


@pytest.mark.parametrize("hold_back", [False, True])
def test_stopped_among_looks_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold_back: bool
) -> None:
    """Wherever it is stopped, every record is counted in one of the two runs, and no look is fused twice."""
    small_chunks(monkeypatch)
    paths = [write(tmp_path / f"feed{k}", mixed()[k::2]) for k in range(2)]
    job: dict[str, Any] = {"format": "as-they-are", "config": {"hold_back": hold_back}}
    one = run(tmp_path / "whole_run", *paths, **job)
    assert (one.summary["dead_letters"], one.summary["detections_rejected"]) == (17, 4)
    assert one.summary["records_ignored"] == 3
    state = str(tmp_path / "state")
    after = 0
    while True:
        after += 1
        a = run(tmp_path / "a", *paths, save=state, after=after, **job)
        if a.outcome.status == 0:
            break
        b = run(tmp_path / "b", *paths, resume=state, **job)
        assert_together([a, b], one)
    assert after > 8


def assert_together(parts: list[Run], one: Run) -> None:
    assert b"".join(part.tracks for part in parts) == one.tracks
    assert b"".join(part.pictures for part in parts) == one.pictures
    for name in COUNTED:
        assert sum(part.summary[name] for part in parts) == one.summary[name], name
    reasons = [letter["reason"] for part in parts for letter in part.letters]
    assert sorted(reasons) == sorted(letter["reason"] for letter in one.letters)

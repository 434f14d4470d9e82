"""The same looks in the same order of arrival give the same bytes, however they are handed over and in any process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from engine_tools import Scenario, at, delayed, engine, lines, report, scan, scenarios, seen, shift, tick, with_latency
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.model import Look
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.batch import LookBatch

CUTS = st.lists(st.integers(0, 200), max_size=8)


def one_by_one(looks: list[Look], **overrides: Any) -> bytes:
    """Through `process`, look by look; what it returns are structs, so the text is that of a second engine."""
    e, other = engine(**overrides), engine(**overrides)
    out = []
    for look in looks:
        updates = other.process_many([look])
        assert e.process(look) == list(updates)
        out.append(bytes(encode(updates)))
    out.append(bytes(encode(other.flush())))
    return b"".join(out)


@settings(max_examples=40)
@given(scenarios(10, 14), CUTS, st.booleans())
def test_wherever_batches_are_cut(scenario: Scenario, cuts: list[int], tentative: bool) -> None:
    """Broken by anything that is done once a batch and can be seen: filing, freeing, growing, numbering."""
    looks = scenario.looks()
    whole = lines(looks, tentative=tentative)
    assert lines(looks, [c % (len(looks) + 1) for c in cuts], tentative=tentative) == whole
    assert one_by_one(looks, tentative=tentative) == whole


@settings(max_examples=30)
@given(scenarios(8, 10), CUTS)
def test_as_structs_or_as_arrays(scenario: Scenario, cuts: list[int]) -> None:
    """Batches that were encoded before, joined, taken apart or put in order are the looks that they were made of."""
    looks = scenario.looks()
    whole = lines(looks)
    e = engine()
    ends = [*sorted(c % (len(looks) + 1) for c in cuts), len(looks)]
    parts = [e.encode(looks[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    out = bytes(encode(e.process_many(LookBatch.concat(parts))))
    assert out + bytes(encode(e.flush())) == whole
    e = engine()
    batch = e.encode(looks)
    middle = len(looks) // 2
    out = bytes(encode(e.process_many(batch.take(0, middle))))
    out += bytes(encode(e.process_many(batch.order(np.arange(middle, len(looks))))))
    assert out + bytes(encode(e.flush())) == whole


@settings(max_examples=25)
@given(scenarios(8, 10))
def test_an_engine_before_does_not_show(scenario: Scenario) -> None:
    """Nothing is kept between engines of one process, and reading along changes nothing."""
    looks = scenario.looks()
    first = lines(looks)
    lines(Scenario(scenario.seed + 1, 5, 5).looks())
    e = engine()
    out = []
    for look in looks:
        out.append(bytes(encode(e.process_many([look]))))
        e.picture(round(look.time.timestamp() * 1e6))
        e.counts()
        e.rejected()
        e.changes()
    out.append(bytes(encode(e.flush())))
    assert b"".join(out) == first


def crowd() -> list[Look]:
    """More of everything than an engine makes room for at first: tracks, detections, cells, identities, text."""
    rng = np.random.default_rng(7)
    looks = []
    for step in range(3):
        t = 600.0 * step
        places = [shift(10.0, 20.0, *rng.uniform(-300e3, 300e3, 2)) for _ in range(1500)]
        looks.append(
            scan(t, None, *(seen(*p, f"s{k}") for k, p in enumerate(places)), source="eo", clutter_per_km2=1e-5)
        )
        looks += [
            report(t + 10.0 + 0.1 * k, *shift(-60.0 + 0.2 * k, 0.3 * k - 170.0, 30.0 * step, 0.0), str(k))
            for k in range(600)
        ]
    return looks


def test_room_is_made_without_a_trace() -> None:
    """1,500 detections in a look and 4,000 tracks: arrays grow in the middle of a look, or once before it."""
    looks = crowd()
    whole = lines(looks, tentative=True)
    assert len(whole.splitlines()) > 4_000
    assert lines(looks, range(0, len(looks), 7), tentative=True) == whole


def test_cells_that_nobody_needs_are_let_go_without_a_trace() -> None:
    """A few ships and clutter all over the globe: the table of cells is made anew between batches, wherever they end."""
    rng = np.random.default_rng(3)
    looks: list[Look] = []
    for k in range(60):
        t = 300.0 * k
        looks += [report(t + n, *shift(30.0, 40.0, 9e3 * n, 5.0 * t), str(n)) for n in range(5)]
        spots = [seen(np.degrees(np.arcsin(rng.uniform(-1, 1))), rng.uniform(-180, 180), f"c{j}") for j in range(400)]
        looks.append(scan(t + 50.0, None, *spots, source="rf"))
    looks.append(tick(90_000.0))
    whole = lines(looks)
    assert lines(looks, range(0, len(looks), 5)) == whole


def test_late_looks_in_any_batches() -> None:
    """Also while looks wait and some are turned away."""
    scenario = Scenario(12, 8, 10)
    rng = np.random.default_rng(1)
    looks = delayed(scenario.looks(), rng, 1500.0)
    sources = with_latency(700.0)
    e = engine(sources)
    whole = lines(looks, e=e)
    turned_away = e.rejected()
    assert {r.kind for r in turned_away} == {"late"}
    for step in (1, 2, 17):
        e = engine(sources)
        assert lines(looks, range(0, len(looks), step), e=e) == whole
        assert e.rejected() == turned_away


RUN = """
import sys, hashlib
sys.path.insert(0, sys.argv[1])
from engine_tools import Scenario, lines
text = b"".join(lines(Scenario(seed, 10, 12).looks(), [5, 20], tentative=True) for seed in range(6))
print(hashlib.sha256(text).hexdigest())
"""


def test_in_any_process_under_any_hash_seed() -> None:
    """A set or a dictionary of texts that is iterated shows between two seeds."""
    text = b"".join(lines(Scenario(seed, 10, 12).looks(), [5, 20], tentative=True) for seed in range(6))
    want = hashlib.sha256(text).hexdigest()
    folder = str(Path(__file__).parent)
    running = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", RUN, folder], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE
        )
        for seed in ("1", "4242")
    ]
    assert [p.communicate()[0].decode().strip() for p in running] == [want, want]


def test_updates_are_in_the_order_of_time() -> None:
    """Between two looks come what tracks have by themselves, at their own times."""
    e = engine()
    text = lines([*Scenario(5, 8, 12).looks(), tick(60_000.0)], e=e)
    times = [line.split(b'"time":"')[1][:27] for line in text.splitlines()]
    assert times == sorted(times)
    assert any(b'"TERMINATED"' in line for line in text.splitlines())
    assert times[-1] < at(60_000.0).isoformat().encode()

"""The lists that lead to tracks are whole after anything: buckets, calendar, identities, contributors, free places."""

from __future__ import annotations

from collections import Counter

import numpy as np
from engine_tools import Scenario, engine, report, scenarios, shift, tick
from hypothesis import given, settings

from apss_fusion.association.cell_table import GLOBE_LEVEL, N_CELLS, N_FILED
from apss_fusion.tracking.bank import HEAP, N_FREE, POOL_FREE, TICK, WHEEL, alive
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.filing import IN_HEAP
from apss_fusion.tracking.window.rows import KEPT


def check(e: Engine) -> None:
    check_buckets(e)
    check_calendar(e)
    check_identities(e)
    check_places(e)


def check_buckets(e: Engine) -> None:
    """Every track is filed in one cell, and walks there and back agree."""
    bank, cells = e._filter.bank, e._filter.work.cells
    found: Counter[int] = Counter()
    levels = np.zeros(GLOBE_LEVEL + 1, int)
    for cid in range(int(cells.scalars[N_CELLS])):
        i, before = int(cells.head[cid]), -1
        while i >= 0:
            assert bank.link[i]["cid"] == cid and bank.link[i]["prev"] == before
            found[i] += 1
            levels[cells.row[cid]["level"]] += 1
            before, i = i, int(bank.link[i]["next"])
    assert found == Counter(alive(bank).tolist())
    assert levels.tolist() == cells.scalars[N_FILED : N_FILED + GLOBE_LEVEL + 1].tolist()


def check_calendar(e: Engine) -> None:
    """Every track waits in one slot of the calendar, not after its due time, or in the heap with it."""
    bank = e._filter.bank
    found: Counter[int] = Counter()
    for slot in range(WHEEL):
        i, before = int(bank.wheel[slot]), -1
        while i >= 0:
            k = bank.link[i]
            assert k["tick"] % WHEEL == slot and k["tick_prev"] == before
            assert k["tick"] > bank.counters[TICK]
            assert k["tick"] * 8.0 <= k["due"]
            found[i] += 1
            before, i = i, int(k["tick_next"])
    heap = bank.heap[: bank.counters[HEAP]]
    for i in alive(bank).tolist():
        if bank.link[i]["tick"] == IN_HEAP:
            entries = heap[(heap["slot"] == i) & (heap["t"] == bank.link[i]["due"])]
            assert len(entries) >= 1 and (entries["key"] == bank.belief[i]["key"]).any()
            found[i] += 1
    assert found == Counter(alive(bank).tolist())
    order = list(zip(heap["t"].tolist(), heap["key"].tolist(), strict=True))
    assert all(order[(k - 1) // 2] <= order[k] for k in range(1, len(order)))


def check_identities(e: Engine) -> None:
    """The list of an identity holds exactly the tracks that are believed to carry it."""
    bank = e._filter.bank
    found: Counter[tuple[int, int]] = Counter()
    for row in bank.identity:
        entry = int(row["head"]) if row["key"] else -1
        while entry >= 0:
            found[int(row["key"]), entry] += 1
            entry = int(bank.link[entry >> 1]["id1_next" if entry & 1 == 0 else "id2_next"])
    want: Counter[tuple[int, int]] = Counter()
    for i in alive(bank).tolist():
        for which, name in enumerate(("id1", "id2")):
            if bank.belief[i][name]:
                want[int(bank.belief[i][name]), 2 * i + which] += 1
    assert found == want


def check_places(e: Engine) -> None:
    """No slot and no contributor entry is lost or used twice."""
    bank, win = e._filter.bank, e._filter.work.window
    kept = set(alive(bank).tolist())
    used: Counter[int] = Counter()
    if win.n[KEPT]:
        # Of a track that has ended, the window keeps the slot, and of every track what contributed before it.
        for i in np.flatnonzero(win.track["first"] >= 0).tolist():
            kept.add(i)
            entry = int(win.track[i]["base_contributor"])
            while entry >= 0:
                used[entry] += 1
                entry = int(bank.pool[entry]["next"])
    assert bank.counters[N_FREE] + len(kept) == len(bank.link)
    for i in sorted(kept):
        entry, n = int(bank.link[i]["contributor"]), 0
        while entry >= 0:
            used[entry] += 1
            n += int(bank.pool[entry]["n"])
            entry = int(bank.pool[entry]["next"])
        assert n == bank.link[i]["detections"]
    assert set(used.values()) <= {1}
    assert bank.counters[POOL_FREE] + len(used) == len(bank.pool)


@settings(max_examples=40)
@given(scenarios(10, 14))
def test_lists_are_whole_after_random_scenes(scenario: Scenario) -> None:
    looks = scenario.looks()
    e = engine()
    rng = np.random.default_rng(scenario.seed)
    at = 0
    while at < len(looks):
        end = at + int(rng.integers(1, 25))
        e.process_many(looks[at:end])
        check(e)
        at = end
    records = e.changes()
    restarted = engine()
    restarted.load(records)
    check(restarted)
    for other in (e, restarted):
        other.process_many([tick(4_000.0), tick(60_000.0), tick(60_001.0)])
        check(other)
        assert sum(other.counts().values()) == 0


def test_lists_are_whole_after_growing() -> None:
    """More tracks, identities and contributors than there was room for."""
    e = engine()
    for step in range(3):
        looks = [
            report(
                2_000.0 * step + 0.5 * k,
                *shift(-50.0 + 0.03 * k, 0.1 * k, 0.0, 30.0 * step),
                str(k % 700),
                f"ais/{k % 5}",
            )
            for k in range(3_000)
        ]
        e.process_many(looks)
        check(e)
    assert len(alive(e._filter.bank)) >= 2_999

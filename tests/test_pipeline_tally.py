"""What the summary counts: sources, latency, disorder, confirmed tracks; each beside the same written plainly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_updates import random_updates
from numpy.typing import NDArray

from apss_fusion.replay.pipeline_tally import ConfirmedTracks, SourceTally
from apss_fusion.tracking.holdback import AHEAD_US
from apss_fusion.tracking.rows import (
    COASTING,
    CONFIRMED,
    DOMAIN_NAMES,
    LOOK,
    LOST,
    NO_REASON,
    TENTATIVE,
    TERMINATED,
    UNCERTAIN,
    WITHDRAWN,
)
from apss_fusion.tracking.times import NO_TIME_US
from apss_fusion.tracking.updates import UpdateBatch

NAMES = ["a", "b", "c"]
START_US = 1_800_000_000_000_000


class Arrived(NamedTuple):
    """A look: its source, its time and its arrival in us since `START_US`, and its detections."""

    source: int
    time_us: int
    received_us: int
    detections: int = 1


def rows(looks: Sequence[Arrived]) -> NDArray[np.void]:
    out = np.zeros(len(looks), LOOK)
    for row, look in zip(out, looks, strict=True):
        row["source"], row["count"] = look.source, look.detections
        row["time_us"], row["received_us"] = START_US + look.time_us, START_US + look.received_us
    return out


def tallied(*parts: Sequence[Arrived], newest_us: int = NO_TIME_US) -> SourceTally:
    tally = SourceTally(newest_us)
    for looks in parts:
        tally.add(rows(looks), len(NAMES))
    return tally


def nearest_rank_s(values_us: list[int], share: float) -> float | None:
    """The smallest of the values that this share of them does not exceed, in s."""
    if not values_us:
        return None
    return sorted(values_us)[math.ceil(round(share * len(values_us), 9)) - 1] / 1e6


def plainly(looks: Sequence[Arrived], of: int | None, newest_us: int | None = None) -> dict[str, Any]:
    """Latency and disorder of a source, or of all, as they are defined."""
    latencies, behind = [], []
    for look in looks:
        if look.time_us - look.received_us > AHEAD_US:
            continue
        if of in (None, look.source):
            latencies.append(max(look.received_us - look.time_us, 0))
            if newest_us is not None and look.time_us < newest_us:
                behind.append(newest_us - look.time_us)
        newest_us = look.time_us if newest_us is None else max(newest_us, look.time_us)
    return {
        "latency_median_s": nearest_rank_s(latencies, 0.5),
        "latency_p90_s": nearest_rank_s(latencies, 0.9),
        "latency_max_s": max(latencies) / 1e6 if latencies else None,
        "out_of_order": len(behind) / len(latencies) if latencies else None,
        "disorder_median_s": nearest_rank_s(behind, 0.5),
        "disorder_max_s": max(behind) / 1e6 if behind else None,
    }


def assert_close(got: dict[str, Any], want: dict[str, Any]) -> None:
    for name, value in want.items():
        if name not in got:
            continue
        if value is None:
            assert got[name] is None, name
        elif name.endswith("_max_s"):
            assert got[name] == pytest.approx(value, abs=5.1e-4), name
        elif name == "out_of_order":
            assert got[name] == round(value, 4)
        elif value <= 1e-3:
            assert got[name] == 0.0, name
        else:
            assert got[name] == pytest.approx(value, rel=0.03), name


SECOND = 1_000_000
TIMES = st.integers(0, 200 * SECOND) | st.integers(0, 20).map(lambda s: s * SECOND) | st.integers(0, 5_000)
DELAYS = st.integers(0, 100 * SECOND) | st.sampled_from(
    [0, 1, 999, 1000, 1001, -AHEAD_US, -AHEAD_US - 1, -3 * AHEAD_US, 400 * 86_400 * SECOND]
)
LOOKS = st.lists(
    st.builds(lambda s, t, d, n: Arrived(s, t, t + d, n), st.integers(0, 2), TIMES, DELAYS, st.integers(0, 3)),
    max_size=40,
)


@given(LOOKS, st.lists(st.integers(0, 40), max_size=3))
def test_latency_and_disorder_as_they_are_defined_wherever_it_is_cut(looks: list[Arrived], cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(looks)) for cut in cuts), len(looks)]
    tally = tallied(*(looks[start:stop] for start, stop in pairwise(ends)))
    result = tally.result(NAMES)
    assert list(result) == [name for k, name in enumerate(NAMES) if any(look.source == k for look in looks)]
    for name, source in result.items():
        mine = [look for look in looks if NAMES[look.source] == name]
        assert (source["looks"], source["detections"]) == (len(mine), sum(look.detections for look in mine))
        assert_close(source, plainly(looks, NAMES.index(name)))
    assert_close(tally.disorder(), plainly(looks, None))
    assert result == tallied(looks).result(NAMES)


@given(LOOKS, st.integers(0, 40))
def test_a_run_that_is_resumed_goes_on_from_the_newest_time(looks: list[Arrived], cut: int) -> None:
    """What is out of order in the whole is so in its parts."""
    first = tallied(looks[:cut])
    second = tallied(looks[cut:], newest_us=first.newest_us)
    whole = tallied(looks)
    assert second.newest_us == whole.newest_us
    before = [look.time_us for look in looks[:cut] if look.time_us - look.received_us <= AHEAD_US]
    assert_close(second.disorder(), plainly(looks[cut:], None, max(before, default=None)))
    furthest = [part.disorder()["disorder_max_s"] or 0.0 for part in (first, second)]
    assert max(furthest) == (whole.disorder()["disorder_max_s"] or 0.0)


def test_disorder_by_hand() -> None:
    """A look from the future is no newest time; one of the same time is in order; the newest is that of any source."""
    looks = [
        Arrived(0, 100 * SECOND, 100 * SECOND),
        Arrived(1, 4_000 * SECOND, 101 * SECOND),
        Arrived(0, 100 * SECOND, 102 * SECOND),
        Arrived(1, 60 * SECOND, 103 * SECOND),
        Arrived(0, 90 * SECOND, 104 * SECOND),
        Arrived(0, 110 * SECOND, 110 * SECOND),
        Arrived(0, 90 * SECOND, 111 * SECOND),
    ]
    tally = tallied(looks)
    a, b = tally.result(NAMES).values()
    assert a["out_of_order"] == 0.4
    assert (a["disorder_median_s"], a["disorder_max_s"]) == (pytest.approx(10.0, rel=0.03), 20.0)
    assert (b["looks"], b["out_of_order"], b["disorder_max_s"]) == (2, 1.0, 40.0)
    assert tally.disorder()["out_of_order"] == 0.5
    assert tally.newest_us == START_US + 110 * SECOND


def test_in_order_there_is_no_disorder() -> None:
    tally = tallied([Arrived(0, k * SECOND, (k + 5) * SECOND) for k in range(9)])
    nothing = {"out_of_order": 0.0, "disorder_median_s": None, "disorder_max_s": None}
    assert tally.disorder() == nothing
    (source,) = tally.result(NAMES).values()
    assert {name: source[name] for name in nothing} == nothing
    assert tallied().disorder() == {**nothing, "out_of_order": None}
    # Of a source all of whose looks lie in the future no latency is known.
    (source,) = tallied([Arrived(0, 4_000 * SECOND, 0)]).result(NAMES).values()
    assert source["looks"] == 1
    assert [source[name] for name in source if name.startswith(("latency", "out", "disorder"))] == [None] * 6


# --- confirmed tracks ---


class Told(NamedTuple):
    """An update: number of the track, and what of it is counted."""

    track: int
    seq: int
    status: int
    domain: int = 0
    reason: int = NO_REASON


def updates(told: Sequence[Told], ids: NDArray[np.uint8]) -> UpdateBatch:
    out = random_updates(1, len(told))
    for row, one in zip(out.rows, told, strict=True):
        row["seq"], row["status"], row["reason"], row["belief"]["domain"] = one.seq, one.status, one.reason, one.domain
    return UpdateBatch(
        out.rows,
        out.evidence,
        out.contributors,
        np.ascontiguousarray(ids[[one.track for one in told]]).reshape(len(told), 16),
        out.batch,
        out.attributes,
        out.register,
    )


def track_ids(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (n, 16)).astype(np.uint8)


def standing(told: Sequence[Told], known: frozenset[int] = frozenset()) -> dict[str, int]:
    """Tracks that were confirmed and not withdrawn since, by domain at their confirmation."""
    domain_of: dict[int, int | None] = dict.fromkeys(known)
    for one in told:
        if one.status == TERMINATED and one.reason == WITHDRAWN and domain_of.get(one.track) is not None:
            del domain_of[one.track]
        elif one.status in (CONFIRMED, COASTING):
            domain_of.setdefault(one.track, one.domain)
    counted = [domain for domain in domain_of.values() if domain is not None]
    return {name: counted.count(k) for k, name in enumerate(DOMAIN_NAMES) if k in counted}


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """Updates of a few tracks: the first of each that is no tentative one confirms it, their numbers may jump."""
    seq: dict[int, int] = {}
    out = []
    for _ in range(draw(st.integers(0, 40))):
        track = draw(st.integers(0, 5))
        status, reason = draw(
            st.sampled_from(
                [
                    (TENTATIVE, NO_REASON),
                    (CONFIRMED, NO_REASON),
                    (COASTING, NO_REASON),
                    (TERMINATED, LOST),
                    (TERMINATED, UNCERTAIN),
                    (TERMINATED, WITHDRAWN),
                ]
            )
        )
        if status == TERMINATED and track not in seq:
            continue
        seq[track] = seq[track] + draw(st.integers(1, 3)) if track in seq else 1
        out.append(Told(track, seq[track], status, draw(st.integers(0, 3)), reason))
    return out


def published(told: list[Told]) -> list[Told]:
    """What is published without tentative tracks: each begins with its confirmation, which is number 1."""
    out, begun = [], set()
    for one in told:
        if one.status in (CONFIRMED, COASTING):
            out.append(one if one.track in begun else one._replace(seq=1))
            begun.add(one.track)
        elif one.status == TERMINATED and one.track in begun:
            out.append(one._replace(seq=one.seq + 1))
    return out


@given(histories(), st.booleans(), st.integers(0, 40))
def test_confirmed_tracks_that_stand(told: list[Told], tentative: bool, cut: int) -> None:
    told = told if tentative else published(told)
    ids = track_ids(6)
    counted = ConfirmedTracks(tentative)
    for part in (told[:cut], told[cut:]):
        counted.add(updates(part, ids))
    assert counted.by_domain() == standing(told)
    assert counted.total == sum(standing(told).values())


@given(histories(), st.frozensets(st.integers(0, 5)))
def test_tracks_that_were_confirmed_before_the_run(told: list[Told], known: frozenset[int]) -> None:
    ids = track_ids(6)
    counted = ConfirmedTracks(True, {ids[k].tobytes() for k in known})
    counted.add(updates(told, ids))
    assert counted.by_domain() == standing(told, known)


def test_confirmed_withdrawn_and_confirmed_again() -> None:
    """Once, with the domain of the last confirmation; a withdrawn one not at all; a lost one stays counted."""
    ids = track_ids(3)
    counted = ConfirmedTracks(False)

    def then(*told: Told) -> dict[str, int]:
        counted.add(updates(told, ids))
        return counted.by_domain()

    assert then(Told(0, 1, CONFIRMED, 3), Told(1, 1, CONFIRMED), Told(2, 1, COASTING)) == {"SEA": 2, "UNKNOWN": 1}
    # The domain of a track may have become known since.
    assert then(Told(0, 5, TERMINATED, 0, WITHDRAWN), Told(1, 2, TERMINATED, 0, LOST)) == {"SEA": 2}
    assert then(Told(0, 9, COASTING, 2), Told(1, 7, CONFIRMED, 2)) == {"SEA": 2, "AIR": 1}
    assert then(Told(0, 11, TERMINATED, 2, WITHDRAWN), Told(2, 3, TERMINATED, 0, WITHDRAWN)) == {"SEA": 1}
    assert counted.total == 1


def test_updates_of_tracks_that_a_run_before_confirmed() -> None:
    """They count no more, and are not taken back."""
    ids = track_ids(2)
    counted = ConfirmedTracks(False)
    counted.add(updates([Told(0, 8, CONFIRMED), Told(1, 1, CONFIRMED), Told(0, 9, TERMINATED, 0, WITHDRAWN)], ids))
    counted.add(updates([Told(0, 10, CONFIRMED)], ids))
    assert counted.by_domain() == {"SEA": 1}


def test_many_tracks() -> None:
    n = 50_000
    ids = track_ids(n)
    counted = ConfirmedTracks(False)
    for start in range(0, n, 4_321):
        part = range(start, min(start + 4_321, n))
        counted.add(updates([Told(k, 1, CONFIRMED, k % 4) for k in part], ids))
        counted.add(updates([Told(k, 2, TERMINATED, 0, WITHDRAWN) for k in part if k % 5 == 0], ids))
    assert counted.by_domain() == dict.fromkeys(DOMAIN_NAMES, n // 5)

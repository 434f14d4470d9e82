"""SIAP attributes by hand and by exhaustive search; the golden values are in test_evaluation_golden.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.evaluation import Siap, TrackRows, siap

TIMES = 7


def run(
    truth: Sequence[tuple[int, int]], tracks: Sequence[tuple[int, int, int]], times_s: Sequence[float] | None = None
) -> Siap:
    """Truth as (time, object), tracks as (time, track, object or -1); errors of 3 m and 4 m/s."""
    t, o = np.array(truth, int).reshape(-1, 2).T
    k, track, item = np.array(tracks, int).reshape(-1, 3).T
    times = np.arange(TIMES) * 10.0 if times_s is None else times_s
    return siap(times, t, o, TrackRows(k, track, item, np.full(len(k), 3.0), np.full(len(k), 4.0)))


def test_by_hand() -> None:
    """An object of 60 s: track 1 has it for 20 s, nobody at 30 s, track 2 for 20 s; track 3 is alone for two times."""
    truth = [(k, 0) for k in range(TIMES)]
    tracks = [(0, 1, 0), (1, 1, 0), (2, 1, 0), (4, 2, 0), (5, 2, 0), (6, 2, 0), (5, 3, -1), (6, 3, -1)]
    value = run(truth, tracks)
    assert value == pytest.approx(Siap(6 / 7, 1.0, 2 / 8, 3.0, 4.0, 1 / 40, 20 / 60))
    # A second track on the object beside the first one: more ambiguous, no more changes.
    value = run(truth, [*tracks, (1, 4, 0), (2, 4, 0)])
    assert value.ambiguity == pytest.approx(8 / 6)
    assert value.track_change_rate_hz == pytest.approx(1 / 40)
    # A track that bridges the gap makes the whole minute tracked.
    value = run(truth, [*tracks, (2, 5, 0), (3, 5, 0), (4, 5, 0)])
    assert value.completeness == 1.0
    assert value.track_change_rate_hz == pytest.approx(2 / 60)


def test_a_gap_in_an_objects_life_is_no_gap_of_its_track() -> None:
    """Truth at times 0, 1, 4, 5: the track that is there at each of them is unbroken."""
    truth = [(k, 0) for k in (0, 1, 4, 5)]
    value = run(truth, [(k, 9, 0) for k in (0, 1, 4, 5)])
    assert value.longest_track_segment == 1.0
    assert value.track_change_rate_hz == 0.0


def test_of_tracks_that_go_on_the_longest_counts() -> None:
    """After track 1, 2 goes on to the end; 3 and 4 begin later and end earlier, and are not needed."""
    truth = [(k, 0) for k in range(TIMES)]
    lives = {1: range(2), 2: range(1, 7), 3: range(2, 4), 4: range(4, 6)}
    value = run(truth, [(k, track, 0) for track, times in lives.items() for k in times])
    assert value.track_change_rate_hz == pytest.approx(1 / 60)


def test_nothing_to_divide_by_is_none() -> None:
    assert run([], []) == Siap(None, None, None, None, None, None, None)
    missed = run([(0, 0), (1, 0)], [])
    assert missed == Siap(0.0, None, None, None, None, None, 0.0)
    assert run([], [(0, 0, -1)]) == Siap(None, None, 1.0, None, None, None, None)
    assert run([(0, 0)], [(0, 0, 0)]) == Siap(1.0, 1.0, 0.0, 3.0, 4.0, None, None)


def test_unknown_errors_are_left_out() -> None:
    rows = TrackRows(np.zeros(3, int), np.arange(3), np.zeros(3, int), np.array([1.0, np.nan, 3.0]), np.full(3, np.nan))
    value = siap([0.0], [0], [0], rows)
    assert value.position_accuracy == 2.0
    assert value.velocity_accuracy is None


@pytest.mark.parametrize(
    ("truth", "tracks", "times_s", "says"),
    [
        ([(0, 0)], [(1, 0, 0)], None, "not there"),
        ([], [(1, 0, 0)], None, "not there"),
        ([(0, 0), (0, 0)], [], None, "twice"),
        ([(0, 0)], [(0, 0, 0), (0, 0, -1)], None, "twice"),
        ([(0, 0)], [], [0.0, 0.0], "ascend"),
        ([(0, 0)], [], [0.0, float("nan")], "ascend"),
    ],
)
def test_refusals(truth: Any, tracks: Any, times_s: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run(truth, tracks, times_s)


def fewest(held: dict[int, set[int]], alive: list[int]) -> int:
    """The fewest unbroken segments that cover all tracked times of an object, tried one number after the other."""
    segments = set()
    for times in held.values():
        for begin, end in itertools.combinations_with_replacement(range(len(alive)), 2):
            if all(alive[k] in times for k in range(begin, end + 1)):
                segments.add(frozenset(alive[begin : end + 1]))
    tracked = set().union(*held.values())
    for number in range(len(tracked) + 1):
        if any(set().union(*chosen) >= tracked for chosen in itertools.combinations(segments, number)):
            return number
    raise AssertionError


# Two objects; each of three tracks has, at each time, one of them, none, or does not exist.
objects = st.lists(st.sets(st.integers(0, TIMES - 1), max_size=TIMES), min_size=2, max_size=2)
choices = st.lists(st.lists(st.sampled_from([0, 1, -1, None]), min_size=TIMES, max_size=TIMES), max_size=3)


@given(objects, choices)
def test_against_counting(alive: list[set[int]], chosen: list[list[int | None]]) -> None:
    truth = [(k, item) for item, times in enumerate(alive) for k in times]
    tracks = [
        (k, track, -1 if item == -1 or k not in alive[item] else item)
        for track, row in enumerate(chosen)
        for k, item in enumerate(row)
        if item is not None
    ]
    value = run(truth, tracks)
    held = {(k, item) for k, _, item in tracks if item >= 0}
    associated = sum(item >= 0 for *_, item in tracks)
    assert value.completeness == (pytest.approx(len(held) / len(truth)) if truth else None)
    assert value.ambiguity == (pytest.approx(associated / len(held)) if held else None)
    assert value.spuriousness == (pytest.approx(1 - associated / len(tracks)) if tracks else None)
    changes, tracked_s, longest_s, life_s = 0, 0.0, 0.0, 0.0
    for item, times in enumerate(alive):
        order = sorted(times)
        by_track = {t: {k for k, track, o in tracks if (track, o) == (t, item)} for t in range(len(chosen))}
        needed = fewest(by_track, order) if by_track else 0
        changes += max(0, needed - 1)
        best = 0.0
        for begin, end in itertools.combinations(range(len(order)), 2):
            if any(all(k in had for k in order[begin : end + 1]) for had in by_track.values()):
                best = max(best, 10.0 * (order[end] - order[begin]))
        longest_s += best
        for a, b in itertools.pairwise(order):
            tracked_s += 10.0 * (b - a) * any(a in had and b in had for had in by_track.values())
            life_s += 10.0 * (b - a)
    assert value.track_change_rate_hz == (pytest.approx(changes / tracked_s) if tracked_s else None)
    assert value.longest_track_segment == (pytest.approx(longest_s / life_s) if life_s else None)

"""Scores of association by hand and by counting pairs; consistency against scipy and filterpy."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from filterpy.stats import NEES, mahalanobis
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from apss_fusion.evaluation import (
    adjusted_rand_index,
    anees,
    anees_bounds,
    association_rand_index,
    completeness,
    fragmentation,
    identity_switches,
    nees,
    nis,
    purity,
)

label_pairs = st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), max_size=14)

# --- association ---


def test_by_hand() -> None:
    """Object 0: tracks 7 7 8, then lost, then 7. Object 1: track 8, lost. Clutter: one in track 7, one left alone."""
    owner = [0, 0, 0, 0, 0, 1, 1, -1, -1]
    track = [7, 7, 8, -1, 7, 8, -1, 7, -1]
    assert purity(owner, track) == pytest.approx((3 + 1) / 6)
    assert completeness(owner, track) == pytest.approx((3 + 1) / 7)
    assert fragmentation(owner, track) == pytest.approx((2 + 1) / 2)
    assert identity_switches(owner, track) == 2
    # Tracks of one object each and all clutter left alone.
    assert association_rand_index([4, 4, 5, -1, -1], [1, 1, 2, -1, -1]) == 1.0
    # Clutter gathered in a track of its own is not right, nor are an object's detections left alone.
    assert association_rand_index([4, 4, 5, -1, -1], [1, 1, 2, 3, 3]) < 1.0
    assert association_rand_index([4, 4, 5, -1, -1], [-1, -1, 2, -1, -1]) < 1.0


def test_nothing() -> None:
    assert purity([], []) is None
    assert completeness([-1], [3]) is None
    assert fragmentation([1], [-1]) is None
    assert purity([1], [-1]) is None
    assert completeness([1], [-1]) == 0.0
    assert purity([-1], [2]) == 0.0
    assert identity_switches([], []) == 0
    assert adjusted_rand_index([], []) == adjusted_rand_index([1], [5]) == 1.0


@given(label_pairs)
def test_against_counting(pairs: list[tuple[int, int]]) -> None:
    owner, track = [o for o, _ in pairs], [t for _, t in pairs]
    in_tracks, of_objects = [x for x in pairs if x[1] >= 0], [x for x in pairs if x[0] >= 0]
    both = Counter(x for x in pairs if min(x) >= 0)
    of_track = {t: max(n for x, n in both.items() if x[1] == t) for _, t in both}
    of_owner = {o: max(n for x, n in both.items() if x[0] == o) for o, _ in both}
    assert purity(owner, track) == (pytest.approx(sum(of_track.values()) / len(in_tracks)) if in_tracks else None)
    assert completeness(owner, track) == (
        pytest.approx(sum(of_owner.values()) / len(of_objects)) if of_objects else None
    )
    assert fragmentation(owner, track) == (pytest.approx(len(both) / len(of_owner)) if both else None)
    switches = 0
    for item in of_owner:
        own = [t for o, t in pairs if o == item and t >= 0]
        switches += sum(a != b for a, b in itertools.pairwise(own))
    assert identity_switches(owner, track) == switches


@given(label_pairs, st.permutations(range(4)), st.permutations(range(4)), st.randoms(use_true_random=False))
def test_names_do_not_matter(pairs: list[tuple[int, int]], a: list[int], b: list[int], random: Any) -> None:
    """Nor does the order of detections, but for switches."""
    other = [(o if o < 0 else a[o], t if t < 0 else b[t]) for o, t in pairs]
    shuffled = random.sample(other, len(other))

    def scores(rows: list[tuple[int, int]]) -> list[Any]:
        owner, track = [o for o, _ in rows], [t for _, t in rows]
        functions: list[Any] = [purity, completeness, fragmentation, association_rand_index, adjusted_rand_index]
        return [function(owner, track) for function in functions]

    def switches(rows: list[tuple[int, int]]) -> int:
        return identity_switches([o for o, _ in rows], [t for _, t in rows])

    first = scores(pairs)
    for values in (scores(other), scores(shuffled)):
        for mine, expected in zip(values[:4], first[:4], strict=True):
            assert mine == (None if expected is None else pytest.approx(expected))
    assert switches(other) == switches(pairs)
    owner, track = [o for o, _ in pairs], [t for _, t in pairs]
    assert adjusted_rand_index(owner, track) == pytest.approx(adjusted_rand_index(track, owner))
    assert adjusted_rand_index(owner, owner) == 1.0


def test_a_million_detections_do_not_overflow() -> None:
    owner = np.repeat([0, 1], 500_000)
    assert adjusted_rand_index(owner, owner + 5) == 1.0
    assert adjusted_rand_index(owner, np.tile([0, 1], 500_000)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("owner", "track", "says"),
    [([1, 2], [1], "same length"), ([[1]], [[1]], "lists"), ([0.5], [1], "whole"), (["a"], ["b"], "whole")],
)
def test_labels_are_checked(owner: Any, track: Any, says: str) -> None:
    for function in (purity, completeness, fragmentation, identity_switches, adjusted_rand_index):
        with pytest.raises(ValueError, match=says):
            function(owner, track)


# --- consistency ---


@pytest.mark.parametrize("n", [1, 2, 4])
def test_nees_is_that_of_filterpy(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.normal(size=(50, n, n))
    cov = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(n)
    truth, estimate = rng.normal(size=(2, 50, n)) * 3
    values = nees(truth - estimate, cov)
    expected = [NEES(t[None], e[None], p[None])[0] for t, e, p in zip(truth, estimate, cov, strict=True)]
    np.testing.assert_allclose(values, np.ravel(expected), rtol=1e-9)
    np.testing.assert_allclose(nis(truth - estimate, cov), values)
    assert math.sqrt(values[0]) == pytest.approx(mahalanobis(truth[0], estimate[0], cov[0]))


@pytest.mark.parametrize("count", [1, 7, 1000, 1_000_000])
@pytest.mark.parametrize("dimension", [1, 2, 6])
@pytest.mark.parametrize("probability", [0.5, 0.95, 0.999])
def test_bounds_are_quantiles_of_chi_square(count: int, dimension: int, probability: float) -> None:
    k = count * dimension
    tail = (1 - probability) / 2
    expected = chi2.ppf([tail, 1 - tail], k) / k
    assert anees_bounds(count, dimension, probability) == pytest.approx(tuple(expected), rel=1e-9)


def test_consistent_errors_lie_within_the_bounds_as_often_as_said() -> None:
    rng = np.random.default_rng(11)
    cov = np.array([[4.0, 1.0], [1.0, 2.0]])
    error = rng.multivariate_normal([0, 0], cov, size=(1000, 30))
    low, high = anees_bounds(30, 2)
    inside = [low <= anees(nees(e, np.broadcast_to(cov, (30, 2, 2))), 2) <= high for e in error]
    # Four standard deviations of a share of 1000.
    assert np.mean(inside) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 1000))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: nees([[1.0, 2.0]], [[1.0]]), "need"),
        (lambda: nees([1.0], [[[1.0]]]), "need"),
        (lambda: nees([[math.nan]], [[[1.0]]]), "finite"),
        (lambda: nees([[1.0]], [[[math.inf]]]), "finite"),
        (lambda: nees([[1.0]], [[[-1.0]]]), "positive definite"),
        (lambda: nees([[1.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "positive definite"),
        (lambda: anees([], 2), "finite"),
        (lambda: anees([math.nan], 2), "finite"),
        (lambda: anees_bounds(0, 2), "interval"),
        (lambda: anees_bounds(3, 2, 1.0), "interval"),
    ],
)
def test_refusals(bad: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bad()

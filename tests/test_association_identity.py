"""Identity as evidence against Bayes over all identities that there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from apss_fusion.association.identity import add_identity, identity_factor, keep_two
from apss_fusion.association.scratch import MIXTURE
from apss_fusion.kernels import Row
from apss_fusion.tracking.rows import BELIEF

COUNT, EPS = 1000, 0.01
ALL = np.arange(1, COUNT + 1)


def belief(id1: int, p1: float, id2: int = 0, p2: float = 0.0) -> Row:
    b = np.zeros(1, BELIEF)[0]
    b["id1"], b["p1"], b["id2"], b["p2"] = id1, p1, id2, p2
    return b


def categorical(b: np.void) -> NDArray[np.float64]:
    """Probability of each of all identities: what is not known to be one of two is any, alike."""
    p = np.full(COUNT, max(0.0, 1.0 - b["p1"] - b["p2"]) / COUNT)
    for name, share in (("id1", "p1"), ("id2", "p2")):
        if b[name]:
            p[int(b[name]) - 1] += b[share]
    return p


def likelihood(z: int) -> NDArray[np.float64]:
    """Of a report of z, by true identity: right, or any of the others by mistake."""
    return np.where(z == ALL, 1.0 - EPS, EPS / (COUNT - 1))


def mixture_of(parts: list[tuple[np.void, int, float]]) -> dict[int, float]:
    mixture, n = np.zeros(64, MIXTURE), 0
    for b, z, weight in parts:
        n = add_identity(b, np.uint64(z), weight, EPS, float(COUNT), mixture, n)
    return {int(row["identity"]): float(row["p"]) for row in mixture[:n]}


BELIEFS = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.booleans()).map(
    lambda v: belief(7, v[0], 9, (1.0 - v[0]) * v[1]) if v[2] else belief(7, v[0])
)


@given(BELIEFS, st.sampled_from([7, 9, 500]))
def test_factor_is_that_of_bayes(b: np.void, z: int) -> None:
    """P(z | what the track is believed to be) over P(z | anything): 1/N."""
    want = float(categorical(b) @ likelihood(z)) * COUNT
    got = identity_factor(b, np.uint64(z), EPS, float(COUNT))
    assert got == pytest.approx(want, rel=1e-2, abs=1e-4)


def test_no_identity_says_nothing() -> None:
    assert identity_factor(belief(7, 0.99), np.uint64(0), EPS, float(COUNT)) == 1.0
    assert identity_factor(belief(0, 0.0), np.uint64(5), EPS, float(COUNT)) == 1.0


def test_the_same_identity_is_strong_and_another_is_weak_but_no_proof() -> None:
    b = belief(7, 0.999)
    assert identity_factor(b, np.uint64(7), 1e-3, 1e5) > 9e4
    assert 0.0 < identity_factor(b, np.uint64(8), 1e-3, 1e5) < 0.01


@given(BELIEFS, st.sampled_from([0, 7, 9, 500]))
def test_posterior_is_that_of_bayes(b: np.void, z: int) -> None:
    got = mixture_of([(b, z, 1.0)])
    p = categorical(b) * (likelihood(z) if z else 1.0)
    p /= p.sum()
    for identity in (7, 9, 500):
        # Of an identity that was never met the kernel keeps nothing; it is one of the unknown ones.
        assert got.get(identity, 0.0) == pytest.approx(p[identity - 1], abs=3e-3)
    assert sum(got.values()) <= 1.0 + 1e-12


@given(BELIEFS, BELIEFS, st.floats(0.0, 1.0))
def test_a_mixture_is_the_weighted_sum(b: np.void, c: np.void, weight: float) -> None:
    got = mixture_of([(b, 7, weight), (c, 500, 1.0 - weight)])
    one, other = mixture_of([(b, 7, 1.0)]), mixture_of([(c, 500, 1.0)])
    for identity in (7, 9, 500):
        want = weight * one.get(identity, 0.0) + (1.0 - weight) * other.get(identity, 0.0)
        assert got.get(identity, 0.0) == pytest.approx(want, abs=1e-12)


@given(st.dictionaries(st.integers(1, 2**64 - 1), st.floats(0.0, 1.0), max_size=8), st.randoms(use_true_random=False))
def test_the_two_likeliest_are_kept(shares: dict[int, float], order: object) -> None:
    """Rounded to 2^-16, whatever the order in which they came; ties go to the smaller hash."""
    items = list(shares.items())
    order.shuffle(items)  # type: ignore[attr-defined]
    mixture = np.zeros(16, MIXTURE)
    for k, (identity, p) in enumerate(items):
        mixture[k]["identity"], mixture[k]["p"] = identity, p
    b = belief(3, 0.5, 4, 0.5)
    keep_two(mixture, len(items), b)
    grid = {identity: np.floor(p * 65536.0 + 0.5) / 65536.0 for identity, p in shares.items()}
    best = sorted((-p, identity) for identity, p in grid.items() if p > 0.0)[:2]
    want = [*[(identity, -p) for p, identity in best], (0, 0.0), (0, 0.0)][:2]
    assert [(int(b["id1"]), float(b["p1"])), (int(b["id2"]), float(b["p2"]))] == want


def test_a_copied_identity_takes_over_only_slowly() -> None:
    """One report of another identity, surely of this object, makes the belief undecided, not turned."""
    got = mixture_of([(belief(7, 0.999), 8, 1.0)])
    assert got[7] == pytest.approx(0.9, abs=0.1)
    got = mixture_of([(belief(0, 0.0), 8, 1.0)])
    assert got == {8: pytest.approx(1.0 - EPS)}

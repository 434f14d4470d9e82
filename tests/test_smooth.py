"""Smoothing against Stone Soup, filterpy and dense conditioning; on the globe; and its properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from engine_tools import matrix
from filterpy.kalman import KalmanFilter  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm

from apss_fusion.estimation.motion import process_noise
from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.smoothing.chains import chains, replaced_by, revisions
from apss_fusion.smoothing.records import Updates
from apss_fusion.smoothing.rts import Smoothed, smoothed
from apss_fusion.smoothing.steps import noise_carried
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.rows import DOMAIN_NAMES

Array = NDArray[np.float64]
NEVER = np.iinfo(np.int64).min
SEEDS = st.integers(0, 2**32 - 1)


def updates(
    t: Sequence[float],
    position: Array,
    velocity: Array,
    covariance: Array,
    domain: str = "SEA",
    **columns: Any,
) -> Updates:
    """Updates of one track, each with a detection of its own."""
    n = len(t)
    time_us = np.round(np.asarray(t, float) * 1e6).astype(np.int64)
    values: dict[str, Any] = {
        "track": np.zeros(n, np.int64),
        "seq": np.arange(1, n + 1),
        "time_us": time_us,
        "seen_us": time_us,
        "revised_us": np.full(n, NEVER),
        "domain": np.full(n, DOMAIN_NAMES.index(domain)),
        "named": np.zeros(n, np.bool_),
        "detected": np.ones(n, np.bool_),
        "position": position,
        "velocity": velocity,
        "covariance": covariance,
        "tracks": 1,
    }
    return Updates(**(values | columns))


def on_a_plane(
    t: Sequence[float], x: Array, p: Array, origin: tuple[float, float] = (0.0, 0.0), **more: Any
) -> Updates:
    """Updates at (e, n, ve, vn) from an origin."""
    start = np.tile(nvectors(*origin), (len(x), 1))
    return updates(t, moves(start, np.ascontiguousarray(x[:, :2])), x[:, 2:].copy(), p, **more)


def back_on_the_plane(s: Smoothed, origin: tuple[float, float] = (0.0, 0.0)) -> Array:
    start = np.tile(nvectors(*origin), (len(s.position), 1))
    return np.column_stack([offsets(start, s.position), s.velocity])


def config(q: float = 0.01, return_s: float = 0.0, **more: Any) -> Config:
    domain = {name: {"q": q, "return_s": return_s} for name in DOMAIN_NAMES}
    return Config.of({"domain": domain, "tracking": {"manoeuvre_probability": 0.0} | more})


def sigmas(p: Array) -> Array:
    return np.sqrt(np.diagonal(p, axis1=-2, axis2=-1))


def assert_same(x: Array, p: Array, want_x: Array, want_p: Array, share: float) -> None:
    """States and covariances equal within a share of the wanted sigmas."""
    sigma = sigmas(want_p)
    assert (np.abs(x - want_x) / sigma).max() < share
    assert (np.abs(p - want_p) / (sigma[..., :, None] * sigma[..., None, :])).max() < share


# ---------------------------------------------------------------------------------------- independent authorities

#: Kalman filter and smoother of Stone Soup 1.9.1 (KalmanUpdater, KalmanSmoother, two ConstantVelocity(0.01)): a ship that
#: is seen at these seconds; (e, n, ve, vn) and the upper triangle of the covariance by rows.
TIMES = [0, 40, 55, 175, 180, 300]
# fmt: off
FILTERED = [
    ([-5.519314, -16.092645, 0.0, 0.0], [200.0, 60.0, 0.0, 0.0, 125.0, 0.0, 0.0, 49.0, 0.0, 49.0]),
    ([233.968523, -115.388491, 5.981999, -2.486377], [397.80058297, 119.01752447, 9.93097847, 2.96717773, 249.02867739,
      2.96717773, 6.2220063, 0.50615988, 0.11142014, 0.3668847]),
    ([343.290336, -155.52566, 6.439006, -2.584901], [268.9180417, 79.31348454, 6.10507998, 1.59297764, 169.77618603,
      1.59297764, 4.11385793, 0.37046961, 0.05339749, 0.30372274]),
    ([1041.735738, -537.716876, 5.751605, -3.280407], [387.35567833, 114.72101906, 3.67454675, 1.01769086, 243.95440451,
      1.01769086, 2.40243317, 0.43319281, 0.02348739, 0.40383358]),
    ([1083.062512, -531.734902, 5.878588, -2.920957], [208.44980849, 61.38544364, 2.85322107, 0.5661777, 131.71800394,
      0.5661777, 2.14549895, 0.43975418, 0.02108611, 0.41339654]),
    ([1805.230259, -915.87859, 6.048154, -3.260353], [387.2289178, 114.44307349, 3.79097108, 1.08926426, 244.17507595,
      1.08926426, 2.42939076, 0.4223119, 0.01930403, 0.39818187]),
]
SMOOTHED = [
    ([-3.783808, -13.909975, 6.184923, -2.561758], [175.67064076, 50.15466384, -3.43601558, -0.86173819, 112.97731096,
      -0.86173819, -2.35884284, 0.30820231, 0.03863937, 0.2599031]),
    ([244.194351, -118.455372, 6.203271, -2.706933], [137.69257923, 35.92401593, 0.92317872, 0.29273385, 92.78755931,
      0.29273385, 0.55726141, 0.15622498, 0.02009738, 0.13110325]),
    ([337.006946, -159.750395, 6.158563, -2.794619], [179.246455, 45.5289671, 1.87351944, 0.31061251, 122.33524612,
      0.31061251, 1.4852538, 0.16433949, 0.01136021, 0.15013922]),
    ([1053.756179, -517.358515, 5.938578, -3.05364], [183.30869393, 52.6844847, -0.23506943, 0.02997532, 117.45308806,
      0.02997532, -0.27253858, 0.20720745, 0.00654287, 0.19902885]),
    ([1083.472296, -532.635282, 5.94764, -3.060376], [184.92623464, 52.90274292, 0.5599813, 0.01303822, 118.79780599,
      0.01303822, 0.54368353, 0.20859062, 0.00610047, 0.20096503]),
    ([1805.230259, -915.87859, 6.048154, -3.260353], [387.2289178, 114.44307349, 3.79097108, 1.08926426, 244.17507595,
      1.08926426, 2.42939076, 0.4223119, 0.01930403, 0.39818187]),
]
# fmt: on


def table(rows: list[tuple[list[float], list[float]]]) -> tuple[Array, Array]:
    return np.array([x for x, _ in rows]), np.array([matrix(p) for _, p in rows])


def test_golden_values_of_stone_soup() -> None:
    x, p = table(FILTERED)
    s = smoothed(on_a_plane(TIMES, x, p), config())
    assert_same(back_on_the_plane(s), s.covariance, *table(SMOOTHED), 1e-5)
    assert s.changed.tolist() == [True] * 5 + [False]


def axis_noise(q: float, return_s: float, t: float) -> Array:
    """Q of (position, velocity) of one axis."""
    xx, xv, vv = process_noise(q, 1.0 / return_s if return_s else 0.0, float(t))
    return np.array([[xx, xv], [xv, vv]])


class PlaneTrack:
    """A random object on a plane and its filtered states, by filterpy, with the engine's noise."""

    def __init__(
        self, seed: int, n: int = 8, q: float = 0.05, return_s: float = 300.0, longest_s: float = 120.0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.dt = np.round(rng.uniform(0.0, longest_s, n), 6)
        self.dt[0] = 0.0
        self.f = [np.block([[np.eye(2), t * np.eye(2)], [np.zeros((2, 2)), np.eye(2)]]) for t in self.dt]
        self.q = [np.kron(axis_noise(q, return_s, t), np.eye(2)) for t in self.dt]
        self.kf = KalmanFilter(4, 2)
        self.kf.H = np.eye(2, 4)
        self.kf.R = np.diag(rng.uniform(10.0, 400.0, 2))
        self.kf.P = np.diag([1e3, 1e3, 9.0, 9.0])
        z = np.cumsum(rng.normal(0.0, 100.0, (n, 2)), 0)
        x, p, _, _ = self.kf.batch_filter(z[:, :, None], Fs=self.f, Qs=self.q)
        self.x, self.p = x[:, :, 0], p
        self.t = np.cumsum(self.dt)


@given(SEEDS, st.sampled_from([0.0, 60.0, 3600.0]))
def test_a_plane_chain_is_that_of_filterpy(seed: int, return_s: float) -> None:
    track = PlaneTrack(seed, return_s=return_s)
    want_x, want_p, _, _ = track.kf.rts_smoother(track.x[:, :, None], track.p, track.f, track.q)
    s = smoothed(on_a_plane(track.t, track.x, track.p), config(0.05, return_s))
    # Some hundred metres of a sphere are a plane within 1e-7 of their length.
    assert_same(back_on_the_plane(s), s.covariance, want_x[:, :, 0], want_p, 1e-4)


@given(SEEDS, st.sampled_from([0.0, 30.0, 600.0]))
def test_what_lies_between_is_conditioned_on_both_sides(seed: int, return_s: float) -> None:
    """Against the Gaussian of (link, in between, next link) under the stochastic equation that the noise is made of."""
    rng = np.random.default_rng(seed)
    q, g = 0.3, 1.0 / return_s if return_s else 0.0
    t1, t2 = rng.uniform(1.0, 100.0, 2)
    track = PlaneTrack(seed, n=2, q=q, return_s=return_s)
    # Position, held velocity and what wanders about it: d(x, m, u) = (m + u, 0, -g u) dt + (0, 0, 1) sqrt(q) dW.
    a = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, -g]])
    both = np.eye(2)

    def step(t: float) -> tuple[Array, Array]:
        big = np.zeros((6, 6))
        big[:3, :3], big[:3, 3:], big[3:, 3:] = -a, q * np.outer([0, 0, 1.0], [0, 0, 1.0]), a.T
        e = expm(big * t)
        f = e[3:, 3:].T
        return np.kron(f, both), np.kron(f @ e[:3, 3:], both)

    sees = np.kron(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), both)
    p0 = np.zeros((6, 6))
    p0[:4, :4] = track.p[0]
    (f1, q1), (f2, q2) = step(t1), step(t2)
    p1 = f1 @ p0 @ f1.T + q1
    here, there = sees @ p1 @ sees.T, sees @ (f2 @ p1 @ f2.T + q2) @ sees.T
    gain = sees @ p1 @ f2.T @ sees.T @ np.linalg.inv(there)

    f = np.eye(4) + np.kron([[0.0, t1 + t2], [0.0, 0.0]], both)
    # A next state that knows more than its prediction.
    share = rng.uniform(0.05, 0.9)
    d = rng.normal(0.0, 1.0, 4) * np.sqrt(np.diag(there))
    x = np.stack([track.x[0], (f - np.kron([[0, t2], [0, 0]], both)) @ track.x[0], f @ track.x[0] + d])
    p = np.stack([track.p[0], here, share * there])
    seen_us = np.array([0, 0, round((t1 + t2) * 1e6)])
    detected = np.array([True, False, True])
    told = on_a_plane([0.0, t1, t1 + t2], x, p, seen_us=seen_us, detected=detected)
    s = smoothed(told, config(q, return_s))
    want = x[1] + gain @ d
    want_p = here + gain @ (share * there - there) @ gain.T
    assert_same(back_on_the_plane(s)[1], s.covariance[1], want, want_p, 1e-4)


def test_noise_is_carried_without_return_as_by_a_free_motion() -> None:
    a = noise_carried(np.array([0.0, 1e-12, 0.1]), np.array([7.0, 7.0, 10.0]))
    assert np.allclose(a[0], np.kron([[1.0, 7.0], [0.0, 1.0]], np.eye(2)))
    assert np.allclose(a[1], a[0])
    assert np.allclose(a[2], np.kron([[1.0, 10.0 * (1.0 - math.exp(-1.0))], [0.0, math.exp(-1.0)]], np.eye(2)))


# ---------------------------------------------------------------------------------------- properties


def random_updates(seed: int, n: int = 30, tracks: int = 3) -> Updates:
    """Tracks anywhere, as a filter may leave them: detections, predictions, revisions, doubt that grows, jumps."""
    rng = np.random.default_rng(seed)
    track = np.sort(rng.integers(0, tracks, n))
    time_us = np.concatenate([np.sort(rng.integers(0, 4_000_000_000, int((track == k).sum()))) for k in range(tracks)])
    detected = rng.random(n) < 0.8
    seen_us = time_us.copy()
    for i in range(1, n):
        if not detected[i] and track[i] == track[i - 1]:
            seen_us[i] = seen_us[i - 1]
    seq = np.concatenate([np.arange(1, int((track == k).sum()) + 1) for k in range(tracks)])
    revised_us = np.where(rng.random(n) < 0.2, time_us - rng.integers(0, 500_000_000, n), NEVER)
    home = nvectors(rng.uniform(-89.0, 89.0, tracks), rng.uniform(-180.0, 180.0, tracks))[track]
    way = rng.normal(0.0, 2e3, (n, 2))
    shape = rng.standard_normal((n, 4, 6))
    scale = np.column_stack([10.0 ** rng.uniform(0, 3, (n, 2)), 10.0 ** rng.uniform(-2, 1, (n, 2))])
    p = (shape @ shape.transpose(0, 2, 1) + 1e-3 * np.eye(4)) * scale[:, :, None] * scale[:, None, :]
    return updates(
        time_us * 1e-6,
        moves(home, way),
        rng.normal(0.0, 30.0, (n, 2)),
        p,
        track=track,
        seq=seq,
        time_us=time_us,
        seen_us=seen_us,
        revised_us=revised_us,
        detected=detected,
        named=rng.random(n) < 0.5,
        tracks=tracks,
    )._replace(domain=rng.integers(0, 4, tracks)[track])


@given(SEEDS)
def test_smoothed_links_are_not_less_certain_and_the_last_ones_stay(seed: int) -> None:
    u = random_updates(seed)
    s = smoothed(u, Config.of())
    assert np.isfinite(s.position).all() and np.isfinite(s.velocity).all()
    sigma = sigmas(s.covariance)
    correlation = s.covariance / sigma[:, :, None] / sigma[:, None, :]
    assert np.linalg.eigvalsh(correlation).min() > 0.0
    links = chains(u, np.zeros(len(u.seq), np.bool_)).link
    # In their own frame: its turn (a correction of some km) keeps the eigenvalues.
    kept = [i for i in links if s.changed[i]]
    for block in (slice(0, 2), slice(2, 4)):
        before = np.linalg.eigvalsh(u.covariance[kept][:, block, block])
        after = np.linalg.eigvalsh(s.covariance[kept][:, block, block])
        late = u.revises.any()
        if not late:
            assert (after <= before * (1.0 + 1e-9)).all()
    for k in range(u.tracks):
        own = np.flatnonzero(u.track == k)
        if len(own):
            last = own[np.lexsort((u.seq[own], u.time_us[own]))[-1]]
            assert not s.changed[last]
    stays = ~s.changed
    assert (s.position[stays] == u.position[stays]).all()
    assert (s.covariance[stays] == u.covariance[stays]).all()


@given(SEEDS)
def test_the_order_of_the_file_does_not_matter(seed: int) -> None:
    u = random_updates(seed)
    order = np.random.default_rng(seed).permutation(len(u.seq))
    mixed = Updates(*(v[order] for v in u[:-1]), tracks=u.tracks)
    a, b = smoothed(u, Config.of()), smoothed(mixed, Config.of())
    for one, other in zip(a, b, strict=True):
        assert (one[order] == other).all()


@given(SEEDS, st.floats(-180.0, 180.0))
def test_no_meridian_is_special(seed: int, turn_deg: float) -> None:
    """The globe turned about its axis: the same tracks, turned, with the same velocities and covariances."""
    u = random_updates(seed)
    c, k = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    turn = np.array([[c, k, 0.0], [-k, c, 0.0], [0.0, 0.0, 1.0]])
    a, b = smoothed(u, Config.of()), smoothed(u._replace(position=np.ascontiguousarray(u.position @ turn)), Config.of())
    sigma = sigmas(a.covariance)
    assert (np.abs(offsets(np.ascontiguousarray(a.position @ turn), b.position)) / sigma[:, :2]).max() < 1e-3
    assert (np.abs(a.velocity - b.velocity) / sigma[:, 2:]).max() < 1e-3


def test_tracks_do_not_mix() -> None:
    x, p = table(FILTERED)
    one = on_a_plane(TIMES, x, p)
    other = on_a_plane(TIMES, x + np.array([9e3, 9e3, 1.0, 1.0]), p)
    both = Updates(
        *(np.concatenate([a, b]) for a, b in zip(one[:-1], other._replace(track=one.track + 1)[:-1], strict=True)),
        tracks=2,
    )
    alone, together = smoothed(one, config()), smoothed(both, config())
    assert all((a == b[:6]).all() for a, b in zip(alone, together, strict=True))


# ---------------------------------------------------------------------------------------- the engine's ways


def line(n: int, jump_at: int | None = None, jump_m: float = 0.0) -> tuple[Array, Array]:
    """A ship that is seen each minute within 10 m, settled, on a straight way that may jump."""
    x = np.zeros((n, 4))
    x[:, 2] = 5.0
    x[:, 0] = 300.0 * np.arange(n)
    if jump_at is not None:
        x[jump_at:, 1] += jump_m
    p = np.tile(np.diag([60.0, 60.0, 0.3, 0.3]), (n, 1, 1))
    p[:, 0, 2] = p[:, 2, 0] = p[:, 1, 3] = p[:, 3, 1] = 1.5
    return x, p


@pytest.mark.parametrize("named", [True, False])
def test_a_jump_of_a_named_track_is_no_news_of_its_past(named: bool) -> None:
    """The wide model was used there, so what comes after says little of what was before."""
    x, p = line(20, jump_at=10, jump_m=2_000.0)
    u = on_a_plane(60.0 * np.arange(20), x, p, named=np.full(20, named))
    s = smoothed(u, Config.of({"domain": {"SEA": {"q": 0.01}}}))
    moved = np.abs(back_on_the_plane(s)[9, 1])
    assert (moved < 20.0) if named else (moved > 20.0)


def test_more_doubt_after_than_before_is_noise_of_its_step() -> None:
    """Two ships cross: for three updates it is open which is which. No covariance grows by smoothing."""
    x, p = line(12)
    p[5:8] += np.diag([4e4, 4e4, 4.0, 4.0])
    s = smoothed(on_a_plane(60.0 * np.arange(12), x, p), Config.of())
    assert (np.linalg.eigvalsh(p - s.covariance).min(1) > -1e-6).all()
    # In the doubt, both sides help.
    assert s.covariance[6, 0, 0] < 0.5 * p[6, 0, 0]


def test_which_updates_are_links() -> None:
    x, p = line(6)
    t = 60.0 * np.arange(6)
    # Seen, seen, missed (predicted), lost sight of by a revision, seen, ended.
    seen_us = np.array([0, 60, 60, 60, 240, 240]) * 1_000_000
    detected = np.array([True, True, False, True, True, False])
    revised_us = np.array([NEVER, NEVER, NEVER, 30_000_000, NEVER, NEVER])
    u = on_a_plane(t, x, p, seen_us=seen_us, detected=detected, revised_us=revised_us)
    nothing = np.zeros(6, np.bool_)
    c = chains(u, nothing)
    assert c.link.tolist() == [0, 1, 4]
    assert c.between.tolist() == [2, 3] and c.before.tolist() == [1, 1]
    # What no longer holds is no link; the first prediction from it stands for it.
    replaced = nothing.copy()
    replaced[1] = True
    c = chains(u, replaced)
    assert c.link.tolist() == [0, 2, 4] and c.between.tolist() == [1, 3] and c.before.tolist() == [0, 1]
    s = smoothed(u, Config.of())
    assert s.changed.tolist() == [True, True, True, True, False, False]


def test_a_revision_that_contradicts_replaces_what_was_told() -> None:
    """Three updates followed another ship; a late look shows it, and they become what lies between those that hold."""
    x, p = line(8)
    x[3:6, 1] += 3_000.0
    revised_us = np.full(8, NEVER)
    revised_us[6] = 170_000_000
    u = on_a_plane(60.0 * np.arange(8), x, p, revised_us=revised_us)
    corrected = back_on_the_plane(smoothed(u, Config.of()))
    assert np.abs(corrected[:, 1]).max() < 1.0
    assert np.allclose(corrected[3:6, 0], x[3:6, 0], atol=20.0)
    # One that agrees leaves them what they are: links, each with what was seen then.
    x[3:6, 1] = 5.0
    u = on_a_plane(60.0 * np.arange(8), x, p, revised_us=revised_us)
    assert 1.0 < back_on_the_plane(smoothed(u, Config.of()))[4, 1] < 6.0
    first = on_a_plane(60.0 * np.arange(8), x, p, revised_us=np.where(np.arange(8) == 6, 0, NEVER))
    assert smoothed(first, Config.of()).changed[:6].all()


def test_what_was_told_of_the_very_time_of_a_late_look_is_replaced_too() -> None:
    x, p = line(4)
    revised_us = np.array([NEVER, NEVER, NEVER, 60_000_000])
    u = on_a_plane(60.0 * np.arange(4), x, p, revised_us=revised_us)
    assert replaced_by(u, np.array([3])).tolist() == [False, True, True, False]
    assert not replaced_by(u, np.array([], np.int64)).any()
    rows, told = revisions(u)
    assert rows.tolist() == [3] and told.tolist() == [2]


def test_updates_of_one_time_go_by_seq() -> None:
    """Two detections at one moment: the second state knows both, and so does the first once it is smoothed."""
    x, p = line(4)
    t = np.array([0.0, 60.0, 60.0, 120.0])
    x[:, 0] = 5.0 * t
    x[2, 1] = 4.0
    p[2] *= 0.5
    u = on_a_plane(t, x, p)
    s = smoothed(u, Config.of())
    assert np.allclose(s.position[1], s.position[2], atol=1e-12)
    assert np.allclose(s.covariance[1], s.covariance[2], rtol=1e-9, atol=1e-9)
    mixed = Updates(*(v[[2, 3, 1, 0]] for v in u[:-1]), tracks=1)
    assert (smoothed(mixed, Config.of()).position == s.position[[2, 3, 1, 0]]).all()


def test_nothing_and_single_updates() -> None:
    x, p = line(1)
    assert not smoothed(on_a_plane([0.0], x, p), Config.of()).changed.any()
    empty = Updates(*(v[:0] for v in on_a_plane([0.0], x, p)[:-1]), tracks=0)
    assert len(smoothed(empty, Config.of()).changed) == 0

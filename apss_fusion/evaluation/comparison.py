"""The comparison of tracks with truth: one pass over the truth times, and the figures of what it kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation.assignment import cheapest, near_pairs
from apss_fusion.evaluation.records import Tracks, Truth
from apss_fusion.evaluation.trajectories import Encounters
from apss_fusion.evaluation.velocities import positions, track_velocities, truth_velocities
from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.kernels import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SEA, AIR, GROUND, UNKNOWN = range(4)
#: The most encounters of objects with tracks that are kept for the metrics of trajectories.
MOST_ENCOUNTERS = 10_000_000
#: Columns of the sums kept a time and a domain: objects, tracks, pairs, sum of (distance / c) ** p over pairs.
_OBJECTS, _TRACKS, _PAIRS, _NEARNESS = range(4)


class TrackStates(NamedTuple):
    """Tracks at the truth times, one a row, by time; (k,) each."""

    time: IntArray
    track: IntArray
    domain: IntArray
    #: The object that the track is paired with, or -1; their distance in m and NEES, NaN where there is none.
    object: IntArray
    distance_m: FloatArray
    nees: FloatArray
    #: The object that is nearest within the cut-off, or -1; their distance and difference of velocities.
    nearest: IntArray
    nearest_m: FloatArray
    nearest_mps: FloatArray


class Comparison:
    """Tracks compared with truth, domain by domain; c (3,) in m by domain, order p.

    `sums` (T, 3, 4) holds the numbers of objects, tracks and pairs, and the sums of (distance / c) ** p over pairs.
    """

    def __init__(self, truth: Truth, tracks: Tracks, c: FloatArray, p: float) -> None:
        self.truth, self.tracks, self.c, self.p = truth, tracks, c, p
        self.sums = np.zeros((len(truth.times_us), len(c), 4))
        #: Domain of each truth row, and the track that it is paired with, or -1.
        self.truth_domain = np.where(truth.domain == UNKNOWN, SEA, truth.domain)
        self.truth_track = np.full(len(truth.item), -1)
        #: Domain in which an object or a track was last, -1 for a track that is there at no truth time.
        self.object_domain = np.zeros(len(truth.ids), np.int64)
        self.track_domain = np.full(len(tracks.ids), -1)
        #: False once there were too many encounters to keep.
        self.has_encounters = True
        self._velocity = truth_velocities(truth)
        self._met: list[tuple[NDArray[Any], ...]] = []
        self._kept = 0
        states: list[TrackStates] = []
        latest = np.full(len(tracks.ids), -1)
        read = np.searchsorted(tracks.time_us, truth.times_us, side="right")
        before = 0
        for i, end in enumerate(read):
            latest[tracks.item[before:end]] = np.arange(before, end)
            before = end
            rows = latest[latest >= 0]
            states.append(self._at(i, rows[~tracks.terminated[rows]]))
        self.states = TrackStates(*map(np.concatenate, zip(*states, strict=True))) if states else _no_states()

    def _at(self, i: int, rows: IntArray) -> TrackStates:
        """Compare at the i-th truth time with the tracks whose latest updates are `rows`."""
        truth, tracks = self.truth, self.tracks
        begin = int(truth.start[i])
        here = slice(begin, int(truth.start[i + 1]))
        age = (truth.times_us[i] - tracks.time_us[rows]) * 1e-6
        objects, places = truth.position[here], moves(tracks.position[rows], tracks.velocity[rows] * age[:, None])
        object_xyz, state_xyz = positions(objects), positions(places)
        object_domain = self.truth_domain[here]
        state_domain = _resolved(tracks.domain[rows], state_xyz, object_xyz, object_domain, self.c)
        self.object_domain[truth.item[here]] = object_domain
        self.track_domain[tracks.item[rows]] = state_domain
        unset = np.full(len(rows), np.nan)
        states = TrackStates(
            np.full(len(rows), i),
            tracks.item[rows],
            state_domain,
            *(np.full(len(rows), -1), unset, unset.copy()),
            *(np.full(len(rows), -1), unset.copy(), unset.copy()),
        )
        nearest = np.full(len(rows), -1)
        for d, c in enumerate(self.c):
            mine, theirs = np.flatnonzero(object_domain == d), np.flatnonzero(state_domain == d)
            near = near_pairs(object_xyz[mine], state_xyz[theirs], c)
            a, b, share = mine[near.truth], theirs[near.estimate], near.distance / c
            self._keep(i, d, truth.item[here][a], tracks.item[rows[b]], share)
            chosen = cheapest(near.truth, near.estimate, share**self.p)
            self.sums[i, d] = len(mine), len(theirs), len(chosen), np.sum(share[chosen] ** self.p)
            # The last value that is set counts: the nearest.
            order = np.argsort(-near.distance, kind="stable")
            nearest[b[order]] = a[order]
            states.nearest_m[b[order]] = near.distance[order]
            a, b = a[chosen], b[chosen]
            self.truth_track[begin + a] = tracks.item[rows[b]]
            states.object[b] = truth.item[here][a]
            states.distance_m[b] = near.distance[chosen]
            states.nees[b] = _nees(offsets(places[b], objects[a]), tracks.covariance[rows[b]], age[b])
        of = np.flatnonzero(nearest >= 0)
        states.nearest[of] = truth.item[here][nearest[of]]
        velocity = track_velocities(tracks.position[rows[of]], tracks.velocity[rows[of]], age[of])
        states.nearest_mps[of] = np.linalg.norm(velocity - self._velocity[begin + nearest[of]], axis=1)
        return states

    def _keep(self, i: int, domain: int, objects: IntArray, tracks: IntArray, share: FloatArray) -> None:
        self._kept += len(share)
        self.has_encounters = self._kept <= MOST_ENCOUNTERS
        if not self.has_encounters:
            self._met.clear()
        elif len(share):
            self._met.append((np.full(len(share), i), np.full(len(share), domain), objects, tracks, share))

    def encounters(self, domain: int) -> Encounters:
        """Objects and tracks of a domain as trajectories; only while it `has_encounters`."""
        none = (*(np.empty(0, np.int64) for _ in range(4)), np.empty(0))
        met = [np.concatenate(column) for column in zip(none, *self._met, strict=True)]
        time, _, objects, tracks, share = (column[met[1] == domain] for column in met)
        truth_rows, state_rows = self.truth_domain == domain, self.states.domain == domain
        truth_time = np.repeat(np.arange(len(self.truth.times_us)), np.diff(self.truth.start))
        here, object_row = self._present(self.truth.item[truth_rows], truth_time[truth_rows], objects)
        there, track_row = self._present(self.states.track[state_rows], self.states.time[state_rows], tracks)
        return Encounters(here, there, time, object_row, track_row, share)

    def _present(self, items: IntArray, time: IntArray, wanted: IntArray) -> tuple[NDArray[np.bool_], IntArray]:
        """When each distinct item is there, (n, T), and the rows of the wanted ones."""
        distinct, row = np.unique(items, return_inverse=True)
        present = np.zeros((len(distinct), len(self.truth.times_us)), np.bool_)
        present[row, time] = True
        return present, np.searchsorted(distinct, wanted)

    def domains(self) -> list[int]:
        """The domains in which there is any object or track, by their codes."""
        return [d for d in range(len(self.c)) if self.sums[:, d, :2].any()]


def _no_states() -> TrackStates:
    whole, real = np.empty(0, np.int64), np.empty(0)
    return TrackStates(whole, whole, whole, whole, real, real, whole, real, real)


@kernel
def _resolved(
    domain: IntArray, xyz: FloatArray, object_xyz: FloatArray, object_domain: IntArray, c: FloatArray
) -> IntArray:
    """Domains of tracks (m,), those of unknown domain by the object that is nearest in terms of its cut-off."""
    out = domain.copy()
    for j in range(len(domain)):
        if domain[j] != UNKNOWN:
            continue
        out[j] = SEA
        nearest = 1.0
        for i in range(len(object_domain)):
            d = object_xyz[i] - xyz[j]
            share = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) / c[object_domain[i]]
            if share < nearest:
                nearest = share
                out[j] = object_domain[i]
    return out


def _nees(error: FloatArray, cov: FloatArray, t: FloatArray) -> FloatArray:
    """Normalised estimation error squared (m,) of position errors (m, 2), NaN where there is no covariance.

    cov (m, 10) is the upper triangle of (e, n, ve, vn), t (m,) the age of the state in s.
    """
    ee = cov[:, 0] + t * (2.0 * cov[:, 2] + t * cov[:, 7])
    en = cov[:, 1] + t * (cov[:, 3] + cov[:, 5] + t * cov[:, 8])
    nn = cov[:, 4] + t * (2.0 * cov[:, 6] + t * cov[:, 9])
    e, n = error.T
    det = ee * nn - en * en
    value: FloatArray = np.full(len(t), np.nan)
    np.divide(nn * e * e - 2.0 * en * e * n + ee * n * n, det, out=value, where=(det > 0.0) & (ee > 0.0))
    return value

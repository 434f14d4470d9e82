"""How good a recording of tracks is, against known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from apss_fusion.evaluation.assignment import assign
from apss_fusion.evaluation.records import DOMAINS, Tracks, Truth, read_tracks, read_truth
from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import ecef, geodetic
from apss_fusion.kernels import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SEA, AIR, GROUND, UNKNOWN = range(4)
#: Chi-square with two degrees of freedom at 0.95.
_CHI2_95 = 5.991464547107979
#: Columns of the sums kept a time and a domain: objects, tracks, pairs, sum of (distance / c) ** p over pairs.
_OBJECTS, _TRACKS, _PAIRS, _NEARNESS = range(4)


class EvaluationOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cut-offs in m by domain, and the order of the metrics."""

    sea_c_m: float = 1_000.0
    air_c_m: float = 5_000.0
    ground_c_m: float = 300.0
    p: float = 2.0


def evaluate(truth_path: Path, tracks_path: Path, options: EvaluationOptions | None = None) -> dict[str, Any]:
    """Compare track updates with truth; means over the times of the truth file.

    A track stands, at a truth time, where its latest update up to then predicts it at constant velocity (along the
    geodesic): nowhere before its first, nowhere once that update is TERMINATED. Objects and tracks are paired within
    their domain, by great-circle distance (the chord, which is 1e-5 shorter at 100 km). A track of domain UNKNOWN
    counts in the domain of the object that it is nearest to in terms of that domain's cut-off, and at sea if none is
    within reach; so does an object of unknown domain, always at sea.

    Parameters
    ----------
    truth_path, tracks_path
        NDJSON, also compressed (``.gz``), in any order.
    options
        Cut-offs and order.

    Returns
    -------
    dict
        ``gospa`` (``total``, ``localisation``, ``missed``, ``false``; m): means over times of the metric and of its
        parts, with ``total^p`` the sum over domains. ``gospa_rms``: the same as power means of order p, where the parts
        to the power p add up to the total. ``ospa`` (m): the p-th root of all domains' costs by all domains' larger
        counts. ``completeness``: share of true positions that are paired. ``spurious``: share of track positions that
        are not. ``objects_found``: share of objects paired at least once. ``track_changes``: how often an object's
        track is another than the one it was last paired with. ``position_error_m`` (``median``, ``p95``, ``rms``) and,
        with the position covariance predicted without process noise, ``anees`` (mean of NEES / 2: 1 is consistent, more
        is too sure) and ``inside_ellipse95``, over pairs. Then counts, and all of it by domain in ``domains``.
        What has no value (no truth, no pair) is None.

    Raises
    ------
    ValueError
        On a line that cannot be read, naming file and line, and on options out of range.
    """
    options = options or EvaluationOptions()
    c = np.array([options.sea_c_m, options.air_c_m, options.ground_c_m], np.float64)
    if not (c > 0.0).all() or not options.p >= 1.0:
        raise ValueError("cut-offs must be positive and the order p at least 1")
    truth, tracks = read_truth(truth_path), read_tracks(tracks_path)
    return _Comparison(truth, tracks, c, options.p).result()


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


def _ecef(n: FloatArray) -> FloatArray:
    return ecef(*geodetic(n), 0.0)


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


class _Comparison:
    """Goes through the truth times once and keeps, a time and a domain, what all metrics are made of."""

    def __init__(self, truth: Truth, tracks: Tracks, c: FloatArray, p: float) -> None:
        self.truth, self.tracks, self.c, self.p = truth, tracks, c, p
        self.sums = np.zeros((len(truth.times_us), len(c), 4))
        self.track_changes = np.zeros(len(c), np.int64)
        self.last_track = np.full(len(truth.ids), -1)
        self.object_domain = np.zeros(len(truth.ids), np.int64)
        self.track_domain = np.full(len(tracks.ids), -1)
        self.pairs: list[FloatArray] = []
        latest = np.full(len(tracks.ids), -1)
        read = np.searchsorted(tracks.time_us, truth.times_us, side="right")
        before = 0
        for i, end in enumerate(read):
            latest[tracks.item[before:end]] = np.arange(before, end)
            before = end
            rows = latest[latest >= 0]
            self._at(i, rows[~tracks.terminated[rows]])

    def _at(self, i: int, rows: IntArray) -> None:
        """Compare at the i-th truth time with the tracks whose latest updates are `rows`."""
        truth, tracks = self.truth, self.tracks
        here = slice(truth.start[i], truth.start[i + 1])
        age = (truth.times_us[i] - tracks.time_us[rows]) * 1e-6
        objects, states = truth.position[here], moves(tracks.position[rows], tracks.velocity[rows] * age[:, None])
        object_xyz, state_xyz = _ecef(objects), _ecef(states)
        object_domain = np.where(truth.domain[here] == UNKNOWN, SEA, truth.domain[here])
        state_domain = _resolved(tracks.domain[rows], state_xyz, object_xyz, object_domain, self.c)
        self.object_domain[truth.item[here]] = object_domain
        self.track_domain[tracks.item[rows]] = state_domain
        for d, c in enumerate(self.c):
            mine, theirs = np.flatnonzero(object_domain == d), np.flatnonzero(state_domain == d)
            local = assign(object_xyz[mine], state_xyz[theirs], c, self.p)
            near = float(np.sum((local.distance / c) ** self.p))
            self.sums[i, d] = len(mine), len(theirs), len(local.distance), near
            if not len(local.distance):
                continue
            a, b = mine[local.truth], theirs[local.estimate]
            self._count_changes(d, truth.item[here][a], tracks.item[rows[b]])
            nees = _nees(offsets(states[b], objects[a]), tracks.covariance[rows[b]], age[b])
            self.pairs.append(np.column_stack([np.full(len(a), d), local.distance, nees]))

    def _count_changes(self, domain: int, objects: IntArray, tracks: IntArray) -> None:
        last = self.last_track[objects]
        self.track_changes[domain] += int(np.sum((last >= 0) & (last != tracks)))
        self.last_track[objects] = tracks

    def result(self) -> dict[str, Any]:
        everything = self._summary(list(range(len(self.c))))
        return {
            "times": len(self.truth.times_us),
            "p": self.p,
            "cutoff_m": {DOMAINS[d]: float(c) for d, c in enumerate(self.c)},
            **everything,
            "domains": {DOMAINS[d]: self._summary([d]) for d in range(len(self.c)) if self.sums[:, d, :2].any()},
        }

    def _summary(self, domains: list[int]) -> dict[str, Any]:
        p, c = self.p, self.c[domains]
        objects, tracks, paired, near = np.moveaxis(self.sums[:, domains], 2, 0)
        parts = {
            "localisation": (near * c**p).sum(1),
            "missed": ((objects - paired) * c**p / 2).sum(1),
            "false": ((tracks - paired) * c**p / 2).sum(1),
        }
        parts = {"total": sum(parts.values(), np.zeros(len(near))), **parts}
        most = np.maximum(objects, tracks)
        cost = ((near + most - paired) * c**p).sum(1)
        ospa = (cost / np.maximum(most.sum(1), 1)) ** (1 / p)
        rows = np.concatenate([np.empty((0, 3)), *self.pairs])
        rows = rows[np.isin(rows[:, 0], domains)]
        nees = rows[np.isfinite(rows[:, 2]), 2]
        of_objects = np.isin(self.object_domain, domains)
        return {
            "gospa": {name: _mean(part ** (1 / p)) for name, part in parts.items()},
            "gospa_rms": {name: _power_mean(part, p) for name, part in parts.items()},
            "ospa": _mean(ospa),
            "completeness": _share(paired.sum(), objects.sum()),
            "spurious": _share((tracks - paired).sum(), tracks.sum()),
            "objects_found": _share(float(np.sum(of_objects & (self.last_track >= 0))), float(of_objects.sum())),
            "track_changes": int(self.track_changes[domains].sum()),
            "position_error_m": {
                "median": float(np.median(rows[:, 1])) if len(rows) else None,
                "p95": float(np.percentile(rows[:, 1], 95)) if len(rows) else None,
                "rms": _power_mean(rows[:, 1] ** 2, 2.0),
            },
            "anees": _mean(nees / 2.0),
            "inside_ellipse95": _mean(nees <= _CHI2_95),
            "objects": int(of_objects.sum()),
            "tracks": int(np.isin(self.track_domain, domains).sum()),
            "mean_objects": _mean(objects.sum(1)),
            "mean_tracks": _mean(tracks.sum(1)),
        }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _power_mean(powers: FloatArray, p: float) -> float | None:
    return float(powers.mean() ** (1 / p)) if len(powers) else None


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


#: Rows of the table: what it is called, where it stands in the result, how it is written.
_LINES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("objects", ("objects",), "{:,d}"),
    ("tracks", ("tracks",), "{:,d}"),
    ("objects at a time, mean", ("mean_objects",), "{:,.1f}"),
    ("tracks at a time, mean", ("mean_tracks",), "{:,.1f}"),
    ("GOSPA, m", ("gospa", "total"), "{:,.0f}"),
    ("  localisation, m", ("gospa", "localisation"), "{:,.0f}"),
    ("  missed, m", ("gospa", "missed"), "{:,.0f}"),
    ("  false, m", ("gospa", "false"), "{:,.0f}"),
    ("OSPA, m", ("ospa",), "{:,.1f}"),
    ("completeness", ("completeness",), "{:.1%}"),
    ("spurious", ("spurious",), "{:.1%}"),
    ("objects ever found", ("objects_found",), "{:.1%}"),
    ("changes of track", ("track_changes",), "{:,d}"),
    ("position error, median, m", ("position_error_m", "median"), "{:,.1f}"),
    ("position error, 95 %, m", ("position_error_m", "p95"), "{:,.1f}"),
    ("NEES / 2, mean", ("anees",), "{:,.2f}"),
    ("inside 95 % ellipse", ("inside_ellipse95",), "{:.1%}"),
)


def table(result: dict[str, Any]) -> str:
    """The result of :func:`evaluate` as plain text: a column for all domains and one for each."""
    columns = {"all": result, **result["domains"]}
    cutoff = ", ".join(f"{c:g} m {name}" for name, c in result["cutoff_m"].items())
    lines = [f"{result['times']:,d} times; c = {cutoff}; p = {result['p']:g}"]
    lines.append(" " * 28 + "".join(f"{name:>12}" for name in columns))
    for title, path, form in _LINES:
        cells = []
        for column in columns.values():
            value: Any = column
            for key in path:
                value = value[key]
            cells.append(f"{'-' if value is None else form.format(value):>12}")
        lines.append(f"{title:<28}" + "".join(cells))
    return "\n".join(lines)

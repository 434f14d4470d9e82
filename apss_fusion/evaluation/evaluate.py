"""How good a recording of tracks is, against known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from apss_fusion.evaluation.comparison import Comparison
from apss_fusion.evaluation.figures import Figures
from apss_fusion.evaluation.records import read_tracks, read_truth


class EvaluationOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cut-offs in m by domain, the order of the metrics, and what the metrics of trajectories need."""

    sea_c_m: float = 1_000.0
    air_c_m: float = 5_000.0
    ground_c_m: float = 300.0
    p: float = 2.0
    #: How many truth times a window of OSPA(2) has.
    ospa2_window: int = 20
    #: Price of a switch in trajectory GOSPA (gamma), as a share of the cut-off.
    switch_share: float = 1.0
    #: Trajectory GOSPA is not computed in a domain where its linear programmes have more weights than that.
    t_gospa_weights: int = 300_000


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
        Cut-offs, order and limits.

    Returns
    -------
    dict
        ``gospa`` (``total``, ``localisation``, ``missed``, ``false``; m): means over times of the metric and of its
        parts, with ``total^p`` the sum over domains. ``gospa_rms``: the same as power means of order p, where the parts
        to the power p add up to the total. ``ospa`` (m): the p-th root of all domains' costs by all domains' larger
        counts. ``ospa2`` (m): the same of trajectories, in windows of ``ospa2_window`` times. ``t_gospa`` (the parts of
        ``gospa`` and ``switch``; m): trajectory GOSPA to the power p a time, None where it would take too long, which
        ``notes`` tells. ``completeness``: share of true positions that are paired. ``spurious``: share of track
        positions that are not. ``objects_found``: share of objects paired at least once. ``track_changes``: how often
        an object's track is another than the one it was last paired with. ``purity``: share of track positions paired
        with their track's most frequent object. ``tracks_per_object``: over objects ever paired. ``adjusted_rand``: of
        objects and tracks, as :mod:`apss_fusion.evaluation.association` says. ``siap``: attributes of the air picture,
        where each track belongs to the nearest object within the cut-off. ``position_error_m`` (``median``, ``p95``,
        ``rms``) and, with the position covariance predicted without process noise, ``anees`` (mean of NEES / 2: 1 is
        consistent, more is too sure), where it would lie with probability 0.95 if errors were independent
        (``anees_bounds95``), and ``inside_ellipse95``, over pairs. Then counts, and all of it by domain in ``domains``.
        What has no value (no truth, no pair) is None.

    Raises
    ------
    ValueError
        On a line that cannot be read, naming file and line, on an object that is twice at a time, and on options out of
        range.
    """
    return compare(truth_path, tracks_path, options).everything()


def compare(truth_path: Path, tracks_path: Path, options: EvaluationOptions | None = None) -> Figures:
    """The comparison behind :func:`evaluate`, which also tells figures over time."""
    options = options or EvaluationOptions()
    c = np.array([options.sea_c_m, options.air_c_m, options.ground_c_m], np.float64)
    if not (np.isfinite(c) & (c > 0.0)).all() or not 1.0 <= options.p < np.inf:
        raise ValueError("cut-offs must be positive and the order p at least 1")
    if options.ospa2_window < 1 or not 0.0 < options.switch_share < np.inf:
        raise ValueError("a window of OSPA(2) has at least one time, and a switch a price above 0")
    truth, tracks = read_truth(truth_path), read_tracks(tracks_path)
    comparison = Comparison(truth, tracks, c, options.p)
    return Figures(comparison, options.ospa2_window, options.switch_share, options.t_gospa_weights)

"""How good tracks are, against known truth: metrics of points, of trajectories, of association and of consistency."""

from apss_fusion.evaluation.assignment import Pairs, assign
from apss_fusion.evaluation.association import (
    adjusted_rand_index,
    association_rand_index,
    completeness,
    fragmentation,
    identity_switches,
    purity,
)
from apss_fusion.evaluation.consistency import anees, anees_bounds, nees, nis
from apss_fusion.evaluation.evaluate import EvaluationOptions, compare, evaluate
from apss_fusion.evaluation.points import Gospa, gospa, ospa
from apss_fusion.evaluation.report import table
from apss_fusion.evaluation.siap import Siap, TrackRows, siap
from apss_fusion.evaluation.trajectory_gospa import TrajectoryGospa, t_gospa
from apss_fusion.evaluation.trajectory_ospa import ospa2

__all__ = [
    "EvaluationOptions",
    "Gospa",
    "Pairs",
    "Siap",
    "TrackRows",
    "TrajectoryGospa",
    "adjusted_rand_index",
    "anees",
    "anees_bounds",
    "assign",
    "association_rand_index",
    "compare",
    "completeness",
    "evaluate",
    "fragmentation",
    "gospa",
    "identity_switches",
    "nees",
    "nis",
    "ospa",
    "ospa2",
    "purity",
    "siap",
    "t_gospa",
    "table",
]

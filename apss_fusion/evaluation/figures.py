"""The figures of a comparison, over all domains together and of each, and over time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation.association import NONE, association_rand_index, fragmentation, identity_switches, purity
from apss_fusion.evaluation.comparison import Comparison
from apss_fusion.evaluation.consistency import anees_bounds
from apss_fusion.evaluation.records import DOMAINS
from apss_fusion.evaluation.siap import TrackRows, siap
from apss_fusion.evaluation.trajectory_gospa import t_gospa_of, weights_of
from apss_fusion.evaluation.trajectory_ospa import WindowCosts, window_costs

FloatArray = NDArray[np.float64]

#: Chi-square with two degrees of freedom at 0.95.
_CHI2_95 = 5.991464547107979
_PARTS = ("total", "localisation", "missed", "false")


class OverTime(NamedTuple):
    """Figures at each truth time (T,), over all domains; metrics in m, None where they were not computed."""

    times_us: NDArray[np.int64]
    objects: FloatArray
    tracks: FloatArray
    #: GOSPA and its parts by name.
    gospa: dict[str, FloatArray]
    ospa: FloatArray
    #: OSPA(2) of the window that ends there.
    ospa2: FloatArray | None


class Figures:
    """Computes figures; those of trajectories once a domain.

    Parameters
    ----------
    comparison
        What is known.
    ospa2_window
        Truth times of a window of OSPA(2).
    switch_share
        Gamma of trajectory GOSPA, as a share of the domain's cut-off.
    most_weights
        The most weights of trajectory GOSPA's linear programmes in a domain that are solved.
    """

    def __init__(self, comparison: Comparison, ospa2_window: int, switch_share: float, most_weights: int) -> None:
        self.comparison = comparison
        #: Why a figure was not computed, a line each.
        self.notes: list[str] = []
        #: By domain: costs of OSPA(2), and powers of trajectory GOSPA and its parts in m ** p; None if not computed.
        self._windows: dict[int, WindowCosts | None] = {}
        self._t_gospa: dict[int, dict[str, float] | None] = {}
        if not comparison.has_encounters:
            self.notes.append("OSPA(2) and T-GOSPA: objects and tracks are near each other too often")
        for d in comparison.domains():
            self._trajectories(d, ospa2_window, switch_share, most_weights)

    def _trajectories(self, d: int, window: int, switch_share: float, most_weights: int) -> None:
        comparison, p = self.comparison, self.comparison.p
        self._windows[d] = self._t_gospa[d] = None
        if not comparison.has_encounters:
            return
        met, c = comparison.encounters(d), float(comparison.c[d])
        self._windows[d] = window_costs(met, window, p, p)
        weights = weights_of(met)
        if weights > most_weights:
            self.notes.append(f"T-GOSPA of {DOMAINS[d]}: {weights:,} weights to solve for, more than {most_weights:,}")
            return
        value = t_gospa_of(met, c, p, switch_share * c)._asdict()
        self._t_gospa[d] = {name: part**p for name, part in value.items()}

    def everything(self) -> dict[str, Any]:
        """Of all domains together, and of each in ``domains``."""
        comparison = self.comparison
        present = comparison.domains()
        together = self.of(present)
        apart = [together] if len(present) == 1 else [self.of([d]) for d in present]
        return {
            "times": len(comparison.truth.times_us),
            "p": comparison.p,
            "cutoff_m": {DOMAINS[d]: float(c) for d, c in enumerate(comparison.c)},
            **together,
            "domains": {DOMAINS[d]: part for d, part in zip(present, apart, strict=True)},
            "notes": self.notes,
        }

    def of(self, domains: list[int]) -> dict[str, Any]:
        """The figures of these domains together."""
        comparison, p = self.comparison, self.comparison.p
        objects, tracks, paired, _ = np.moveaxis(comparison.sums[:, domains], 2, 0)
        gospa = self._gospa_powers(domains)
        windows = self._ospa2(domains)
        states = comparison.states
        mine = np.isin(states.domain, domains)
        pairs = mine & (states.object >= 0)
        error_m, nees = states.distance_m[pairs], states.nees[pairs]
        nees = nees[np.isfinite(nees)]
        of_objects = np.isin(comparison.object_domain, domains)
        found = np.zeros(len(of_objects), np.bool_)
        found[states.object[states.object >= 0]] = True
        return {
            "gospa": {name: _mean(part ** (1 / p)) for name, part in gospa.items()},
            "gospa_rms": {name: _power_mean(part, p) for name, part in gospa.items()},
            "ospa": _mean(self._ospa(domains)),
            "ospa2": None if windows is None else _mean(windows),
            "t_gospa": self._t_gospa_a_time(domains),
            "completeness": _share(paired.sum(), objects.sum()),
            "spurious": _share((tracks - paired).sum(), tracks.sum()),
            "objects_found": _share(float(np.sum(of_objects & found)), float(of_objects.sum())),
            **self._association(domains, mine),
            "siap": self._siap(domains, mine),
            "position_error_m": {
                "median": float(np.median(error_m)) if len(error_m) else None,
                "p95": float(np.percentile(error_m, 95)) if len(error_m) else None,
                "rms": _power_mean(error_m**2, 2.0),
            },
            "anees": _mean(nees / 2.0),
            "anees_bounds95": list(anees_bounds(len(nees), 2)) if len(nees) else None,
            "inside_ellipse95": _mean(nees <= _CHI2_95),
            "objects": int(of_objects.sum()),
            "tracks": int(np.isin(comparison.track_domain, domains).sum()),
            "mean_objects": _mean(objects.sum(1)),
            "mean_tracks": _mean(tracks.sum(1)),
        }

    def over_time(self) -> OverTime:
        """The figures of all domains at each truth time."""
        comparison, domains = self.comparison, list(range(len(self.comparison.c)))
        counts = comparison.sums.sum(axis=1)
        gospa = {name: part ** (1 / comparison.p) for name, part in self._gospa_powers(domains).items()}
        times = comparison.truth.times_us
        return OverTime(times, counts[:, 0], counts[:, 1], gospa, self._ospa(domains), self._ospa2(domains))

    def _gospa_powers(self, domains: list[int]) -> dict[str, FloatArray]:
        """GOSPA and its parts to the power p at each time."""
        objects, tracks, paired, near = np.moveaxis(self.comparison.sums[:, domains], 2, 0)
        powers = self.comparison.c[domains] ** self.comparison.p
        parts = (near, (objects - paired) / 2, (tracks - paired) / 2)
        localisation, missed, false = ((part * powers).sum(1) for part in parts)
        return dict(zip(_PARTS, (localisation + missed + false, localisation, missed, false), strict=True))

    def _ospa(self, domains: list[int]) -> FloatArray:
        p, c = self.comparison.p, self.comparison.c[domains]
        objects, tracks, paired, near = np.moveaxis(self.comparison.sums[:, domains], 2, 0)
        most = np.maximum(objects, tracks)
        cost = ((near + most - paired) * c**p).sum(1)
        return np.asarray((cost / np.maximum(most.sum(1), 1)) ** (1 / p))

    def _ospa2(self, domains: list[int]) -> FloatArray | None:
        """OSPA(2) of the window that ends at each time: all domains' costs by all domains' larger numbers."""
        p, c = self.comparison.p, self.comparison.c
        cost, count = np.zeros((2, len(self.comparison.sums)))
        for d in domains:
            window = self._windows.get(d, WindowCosts(np.zeros(1), np.zeros(1)))
            if window is None:
                return None
            cost, count = cost + window.cost * c[d] ** p, count + window.most
        return np.asarray((cost / np.maximum(count, 1)) ** (1 / p))

    def _t_gospa_a_time(self, domains: list[int]) -> dict[str, float] | None:
        times = len(self.comparison.sums)
        found = [self._t_gospa[d] for d in domains if d in self._t_gospa]
        known = [value for value in found if value is not None]
        if not times or not known or len(known) < len(found):
            return None
        p = self.comparison.p
        return {name: float((sum(value[name] for value in known) / times) ** (1 / p)) for name in known[0]}

    def _association(self, domains: list[int], mine: NDArray[np.bool_]) -> dict[str, Any]:
        """True positions as detections: of their object, in the track that they are paired with; tracks alone too."""
        comparison = self.comparison
        rows = np.isin(comparison.truth_domain, domains)
        alone = comparison.states.track[mine & (comparison.states.object < 0)]
        owner = np.concatenate([comparison.truth.item[rows], np.full(len(alone), NONE)])
        track = np.concatenate([comparison.truth_track[rows], alone])
        return {
            "track_changes": identity_switches(owner, track),
            "purity": purity(owner, track),
            "tracks_per_object": fragmentation(owner, track),
            "adjusted_rand": association_rand_index(owner, track) if len(owner) else None,
        }

    def _siap(self, domains: list[int], mine: NDArray[np.bool_]) -> dict[str, float | None]:
        truth, states = self.comparison.truth, self.comparison.states
        rows = np.isin(self.comparison.truth_domain, domains)
        time = np.repeat(np.arange(len(truth.times_us)), np.diff(truth.start))
        tracks = TrackRows(
            time=states.time[mine],
            track=states.track[mine],
            object=states.nearest[mine],
            position_error=states.nearest_m[mine],
            velocity_error=states.nearest_mps[mine],
        )
        seconds = (truth.times_us - truth.times_us[:1].sum()) * 1e-6
        value = siap(seconds, time[rows], truth.item[rows], tracks)
        return {
            "completeness": value.completeness,
            "ambiguity": value.ambiguity,
            "spuriousness": value.spuriousness,
            "position_accuracy_m": value.position_accuracy,
            "velocity_accuracy_mps": value.velocity_accuracy,
            "track_changes_per_hour": None if value.track_change_rate_hz is None else value.track_change_rate_hz * 3600,
            "longest_track_segment": value.longest_track_segment,
        }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _power_mean(powers: FloatArray, p: float) -> float | None:
    return float(powers.mean() ** (1 / p)) if len(powers) else None


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None

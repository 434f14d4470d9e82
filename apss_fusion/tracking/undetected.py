"""Another birth model: the intensity of undetected objects as a Gaussian mixture, with a birth rate that is learned.

On the globe undetected objects live in the cells of `intensity`. Where a scenario says where its objects appear, they are a
Poisson intensity of Gaussians over position and velocity, and a density that is the same everywhere:

    predict   weights w exp(-t / departure), states as of tracks; births are added, their weights times the learned rate
    detect    new Bernoullis from p_detect w_c N(z; H x_c, S_c) against clutter
    missed    weights times 1 - p_detect

(Williams 2015). Only a look with a footprint misses; it is taken to see the whole area of the mixture. The birth rate is a
Gamma posterior in units of the given one: (memory + born) / (memory + expected), where a track counts as born with its
existence four looks after it was founded. It couples everything in the area, so an engine with this model holds looks back:
it has no late looks and no records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.history import (
    COUNT,
    FACTOR,
    FIRST,
    WIDTH,
    E,
    N,
    W,
    history_row,
    match_moments,
    put_history,
    reduce_histories,
    write_histories,
)
from apss_fusion.estimation.measurement import gate_distance, update
from apss_fusion.estimation.motion import STATE, predict
from apss_fusion.estimation.noise_bank import prior_of_factor
from apss_fusion.estimation.rounding import round_state
from apss_fusion.geodesy.wgs84 import moved, nvectors, offset
from apss_fusion.kernels import Row, lean_kernel, whole
from apss_fusion.tracking.mixing import NEAR
from apss_fusion.tracking.rows import DOMAIN_NAMES

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Places in `Undetected.n`: whether this is the birth model, used rows, looks so far, used rows of the cohort, the domain of the
#: objects, and the rows that were there before the look in work gave any back.
ON, USED, LOOKS, COHORT, DOMAIN, BEFORE = range(6)
#: Places in `Undetected.x`: time of the mixture in s; density everywhere and its births a step, 1/m^2; smallest weight kept;
#: objects born and expected, in those four looks old; the memory of the rate in births; seconds of a step.
T, FLAT, FLAT_BIRTH, LEAST, BORN, EXPECTED, MEMORY, STEP = range(8)
#: Looks after which a track counts as born.
_AGE = 4
#: Parts that weigh less of a new track are left out.
_LEAST_PART = 1e-5


class Gaussian(msgspec.Struct, frozen=True):
    """So many objects about a place: weight, mean (degrees, m/s) and covariance of (e, n, ve, vn) in m and m/s."""

    weight: float
    lat: float
    lon: float
    v_enu_mps: tuple[float, float]
    covariance: tuple[tuple[float, float, float, float], ...]


class MixtureBirths(msgspec.Struct, frozen=True, kw_only=True):
    """Where objects are expected, and where they appear, as an `Engine` takes it."""

    #: Undetected objects at the beginning.
    initial: tuple[Gaussian, ...] = ()
    #: Objects that appear in each step of `step_s` seconds.
    births: tuple[Gaussian, ...] = ()
    step_s: float
    #: When the mixture is as `initial` says, in s since 1970.
    start_s: float
    #: Density of undetected objects everywhere, and of those that appear in a step, 1/m^2.
    everywhere: float = 0.0
    births_everywhere: float = 0.0
    domain: str = "SEA"
    #: How many births the given rate is worth against what is seen; 0: the rate is as given.
    memory: float = 3.0
    #: Smaller weights are forgotten.
    least: float = 1e-4


class Undetected(NamedTuple):
    """The arrays."""

    n: NDArray[np.int64]
    x: NDArray[np.float64]
    part: NDArray[np.void]  # STATE rows
    weight: NDArray[np.float64]
    birth: NDArray[np.void]
    birth_weight: NDArray[np.float64]
    cohort: NDArray[np.int64]  # (n, 3): slot, key and look of tracks that were founded lately


def new_undetected(model: MixtureBirths | None) -> Undetected:
    """The arrays of a model, or of none."""
    if model is None:
        nothing, empty = np.zeros(0, STATE), np.zeros(0)
        return Undetected(
            np.zeros(6, np.int64), np.zeros(8), nothing, empty, nothing, empty, np.zeros((0, 3), np.int64)
        )
    parts, births = _rows(model.initial, model.start_s), _rows(model.births, model.start_s)
    size = max(4096, 2 * len(parts))
    part, weight = np.zeros(size, STATE), np.zeros(size)
    part[: len(parts)], weight[: len(parts)] = parts, [g.weight for g in model.initial]
    n, x = np.zeros(6, np.int64), np.zeros(8)
    n[[ON, USED, DOMAIN]] = 1, len(parts), DOMAIN_NAMES.index(model.domain)
    x[[T, FLAT, FLAT_BIRTH]] = model.start_s, model.everywhere, model.births_everywhere
    x[[LEAST, MEMORY, STEP]] = model.least, model.memory, model.step_s
    weights = np.array([g.weight for g in model.births], np.float64)
    return Undetected(n, x, part, weight, births, weights, np.zeros((4096, 3), np.int64))


def _rows(parts: tuple[Gaussian, ...], t: float) -> NDArray[np.void]:
    rows = np.zeros(len(parts), STATE)
    if parts:
        n = nvectors(np.array([g.lat for g in parts]), np.array([g.lon for g in parts]))
        rows["x"], rows["y"], rows["z"], rows["t"] = n[:, 0], n[:, 1], n[:, 2], t
        rows["a"], rows["b"] = np.array([g.v_enu_mps for g in parts]).T
        c = np.array([g.covariance for g in parts])
        for name, i, j in (("ee", 0, 0), ("en", 0, 1), ("nn", 1, 1), ("ea", 0, 2), ("eb", 0, 3)):
            rows[name] = c[:, i, j]
        for name, i, j in (("na", 1, 2), ("nb", 1, 3), ("aa", 2, 2), ("ab", 2, 3), ("bb", 3, 3)):
            rows[name] = c[:, i, j]
    return rows


def grown_undetected(u: Undetected) -> Undetected:
    """The same with twice the room."""
    size = 2 * len(u.part)
    part, weight, cohort = np.zeros(size, STATE), np.zeros(size), np.zeros((2 * len(u.cohort), 3), np.int64)
    part[: len(u.part)], weight[: len(u.weight)], cohort[: len(u.cohort)] = u.part, u.weight, u.cohort
    return u._replace(part=part, weight=weight, cohort=cohort)


@lean_kernel
def holds_more(u: Undetected, tracks: int) -> bool:
    """Whether so many parts fit beside the births, and as many founded tracks."""
    return u.n[USED] + len(u.birth) + tracks <= len(u.part) and u.n[COHORT] + tracks <= len(u.cohort)


@lean_kernel
def _copy_state(s: Row, d: Row) -> None:
    d.x, d.y, d.z, d.a, d.b, d.t = s.x, s.y, s.z, s.a, s.b, s.t
    d.ee, d.en, d.nn, d.ea, d.eb = s.ee, s.en, s.nn, s.ea, s.eb
    d.na, d.nb, d.aa, d.ab, d.bb = s.na, s.nb, s.aa, s.ab, s.bb


@lean_kernel
def advance(u: Undetected, t: float, domain: Row, spare: Row) -> None:
    """Predict the mixture to time t and let objects appear; nothing where it is there already."""
    dt = t - u.x[T]
    if dt <= 0.0:
        return
    survive = np.exp(-domain.departure * dt)
    used = 0
    for c in range(u.n[USED]):
        if u.weight[c] * survive > u.x[LEAST]:
            predict(u.part[c], t, domain.q, domain.g, domain.great_circle != 0, spare)
            _copy_state(spare, u.part[used])
            u.weight[used] = u.weight[c] * survive
            used += 1
    steps = dt / u.x[STEP]
    rate = 1.0
    if u.x[MEMORY] > 0.0:
        rate = (u.x[MEMORY] + u.x[BORN]) / (u.x[MEMORY] + u.x[EXPECTED])
    for c in range(len(u.birth)):
        _copy_state(u.birth[c], u.part[used])
        u.part[used].t = t
        u.weight[used] = u.birth_weight[c] * steps * rate
        u.x[EXPECTED] += u.birth_weight[c] * steps
        used += 1
    u.n[USED] = used
    u.x[FLAT] = u.x[FLAT] * survive + u.x[FLAT_BIRTH] * steps
    u.x[T] = t


@lean_kernel
def first_detections(u: Undetected, z: Row, gate: float, spare: Row) -> float:
    """Density of undetected objects at detection z, 1/m^2: the intensity seen through the measurement."""
    total = u.x[FLAT]
    for c in range(u.n[USED]):
        p = u.part[c]
        east, north = offset(p.x, p.y, p.z, z.x, z.y, z.z)
        if gate_distance(p, z, east, north, 0.0) < gate:
            update(p, z, east, north, 0.0, spare)
            total += u.weight[c] * np.exp(spare.loglik)
    return total


@lean_kernel
def found_from_mixture(w: Work, i: int, z: Row) -> None:
    """Write state and histories of track i, founded by detection z: the mixture given the detection."""
    u, s, f = w.undetected, w.scratch, w.params.filter[0]
    mix, h, x = s.mix, s.spare[0].posterior, s.spare[0].state
    row, factors = w.bank.history[i], w.params.factors
    d, several = w.params.domain[z.domain], len(factors) if len(row) else 1
    most = len(s.mix) // (2 * several)
    count = 0
    if u.x[FLAT] > 0.0:
        mix[0, :] = 0.0
        x.a = x.b = x.en = x.ea = x.eb = x.na = x.nb = x.ab = 0.0
        x.ee, x.en, x.nn, x.aa, x.bb = z.ree, z.ren, z.rnn, d.birth_speed_var, d.birth_speed_var
        put_history(mix[0], 0, 0.0, 0.0, x)
        mix[0, W], mix[0, FACTOR] = u.x[FLAT], 1.0
        count = 1
    total = u.x[FLAT]
    for c in range(u.n[BEFORE]):
        p = u.part[c]
        east, north = offset(p.x, p.y, p.z, z.x, z.y, z.z)
        if count < most and gate_distance(p, z, east, north, 0.0) < f.gate:
            update(p, z, east, north, 0.0, h)
            x.a, x.b = p.a + h.a, p.b + h.b
            x.ee, x.en, x.nn, x.ea, x.eb = h.ee, h.en, h.nn, h.ea, h.eb
            x.na, x.nb, x.aa, x.ab, x.bb = h.na, h.nb, h.aa, h.ab, h.bb
            put_history(mix[count], 0, h.e - east, h.n - north, x)
            mix[count, W], mix[count, FACTOR] = u.weight[c] * np.exp(h.loglik), 1.0
            total += mix[count, W]
            count += 1
    if count == 0:
        return
    for c in range(count):
        if mix[c, W] < _LEAST_PART * total:
            mix[c, W] = 0.0
    # An object may move by any factor of the bank.
    for k in range(1, several):
        for c in range(count):
            for part in range(WIDTH):
                mix[k * count + c, part] = mix[c, part]
            mix[k * count + c, FACTOR] = factors[k]
            mix[k * count + c, W] *= prior_of_factor(factors, k, f.least_factor)
    for c in range(count * (several > 1)):
        mix[c, W] *= prior_of_factor(factors, 0, f.least_factor)
    count *= several
    made = reduce_histories(mix, count, max(1, (len(row) - FIRST) // WIDTH), NEAR if len(row) else np.inf, s.group)
    if made == 0:
        return
    for g in range(made):
        s.group[count + g] = 0
    mean = count + made
    match_moments(mix, count, mean, s.group, 0, mean)
    state = w.bank.state[i]
    history_row(mix[mean], 0, state)
    state.x, state.y, state.z = moved(z.x, z.y, z.z, mix[mean, E], mix[mean, N])
    round_state(state)
    for k in range(FIRST, len(row)):
        row[k] = 0.0
    if len(row):
        row[COUNT] = 0.0
    if len(row) and (made > 1 or mix[count, FACTOR] != 1.0):
        write_histories(mix, count, made, mean, row, x)


@lean_kernel
def give_back(u: Undetected, s: Row, r: float) -> None:
    """Add the existence r of an object with state row s to the mixture. The caller has seen to room."""
    if r > u.x[LEAST]:
        c = u.n[USED]
        _copy_state(s, u.part[c])
        u.weight[c] = r
        u.n[USED] = c + 1


@lean_kernel
def thin(u: Undetected, p_detect: float) -> None:
    """A look has seen: what was there and not given back by itself is less."""
    for c in range(u.n[USED]):
        u.weight[c] *= 1.0 - p_detect
    u.x[FLAT] *= 1.0 - p_detect
    u.n[BEFORE] = u.n[USED]


@lean_kernel
def note_founded(w: Work, i: int) -> None:
    """Remember that track i was founded by the look in work."""
    u = w.undetected
    k = u.n[COHORT]
    u.cohort[k, 0], u.cohort[k, 1], u.cohort[k, 2] = i, whole(w.bank.belief[i].key), u.n[LOOKS]
    u.n[COHORT] = k + 1


@lean_kernel
def count_born(w: Work) -> None:
    """Count the tracks that were founded some looks ago (but not by the first), each with its existence; a look is over."""
    u = w.undetected
    kept = 0
    for k in range(u.n[COHORT]):
        age = u.n[LOOKS] - u.cohort[k, 2]
        if age < _AGE:
            for x in range(3):
                u.cohort[kept, x] = u.cohort[k, x]
            kept += 1
            continue
        i = u.cohort[k, 0]
        if w.bank.link[i].alive and whole(w.bank.belief[i].key) == u.cohort[k, 1] and u.n[LOOKS] > _AGE:
            u.x[BORN] += w.bank.belief[i].r
    u.n[COHORT] = kept
    u.n[LOOKS] += 1

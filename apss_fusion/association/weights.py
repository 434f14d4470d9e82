"""The weight of one pair: how likely a track has caused a detection, and what the track would be then.

    w_ij = r_i p_detect N(z_j; H x_i, S_ij) x identity x class x size x altitude / reference_j

inside a chi-square gate on position, relative to the density of new objects and clutter. Of a track with several histories,
N is that of the mixture.

Objects that report themselves may turn hard while nobody listens: a report of the same identity that the narrow motion model
does not explain is weighed by a wide one too (q times a factor), and once more as if its velocity were wrong; the best
explanation counts. A report without a name is weighed so inside the gate, and by the rhythm of the track's reports.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.identity import identity_factor
from apss_fusion.association.pairs import find_pair
from apss_fusion.estimation.altitude import altitude_loglik_ratio
from apss_fusion.estimation.history import (
    COUNT,
    FIRST,
    WIDTH,
    E,
    N,
    W,
    count_of,
    history_row,
    match_moments,
    put_history,
)
from apss_fusion.estimation.measurement import LOG_2PI, gate_distance, update, update_position
from apss_fusion.estimation.motion import predict, process_noise
from apss_fusion.geodesy.wgs84 import offset
from apss_fusion.kernels import Row, lean_kernel

#: Below this squared distance the narrow model explains a report well enough.
_WELL = 9.0
_UNKNOWN_DOMAIN = 3
#: Rhythm of reports, in intervals of a track: sooner than this is at once, later than this is silence, and that fades by e in
#: so many more; at least, and at most.
_AT_ONCE, _SILENT, _FORGOTTEN = 0.25, 3.0, 5.0
_LEAST_RHYTHM, _MOST_SILENCE = 0.03, 10.0
#: Kinds of pair tables, for what is missing.
ATTRIBUTES, SOURCES = 0, 1


class Pairs(NamedTuple):
    """The pair tables as kernels read them, and which attributes say something of the class."""

    attributes: NDArray[np.void]
    sets: NDArray[np.void]
    has_class: NDArray[np.int8]


@lean_kernel
def reference(look: Row, z: Row, domain: Row) -> float:
    """Log of the density of clutter (or of objects not yet reporting themselves) at a detection, in its measurement space."""
    density = domain.cooperative if look.cooperative else max(look.clutter_per_m2, 1e-15)
    log = math.log(density)
    if z.va == z.va:
        log += log_velocity(z, domain)
    if z.rate == z.rate:
        s = domain.birth_speed_var * (z.le * z.le + z.ln * z.ln) + z.rate_var
        log -= 0.5 * (z.rate * z.rate / s + LOG_2PI + math.log(s))
    return log


@lean_kernel
def log_velocity(z: Row, domain: Row) -> float:
    """Log density of the velocity that detection z reports, for an object of which nothing is known."""
    see, snn = domain.birth_speed_var + z.vaa, domain.birth_speed_var + z.vbb
    det = see * snn - z.vab * z.vab
    m2 = (z.va * z.va * snn - 2.0 * z.va * z.vb * z.vab + z.vb * z.vb * see) / det
    return -0.5 * m2 - LOG_2PI - 0.5 * math.log(det)


@lean_kernel
def attribute_factor(f: Row, pairs: Pairs, b: Row, z: Row, missing: NDArray[np.int64]) -> float:
    """Factor of class and size; without the class where the pair of attributes is unknown, which is noted in `missing`."""
    factor = 1.0
    if b.length_m == b.length_m and b.length_m > 0.0 and z.length_m == z.length_m:
        error = f.length_error_share * z.length_m + f.length_error_m
        var = b.length_var + error * error
        y = z.length_m - b.length_m
        ratio = f.length_span_m * math.exp(-0.5 * y * y / var) / math.sqrt(2.0 * math.pi * var)
        factor = min(max(ratio, 0.05), 10.0)
    known = z.identity != 0 and b.id1 != 0
    if not known and pairs.has_class[b.attributes] and pairs.has_class[z.attributes]:
        s = find_pair(pairs.attributes, b.attributes, z.attributes)
        if s < 0:
            note_missing(missing, ATTRIBUTES, b.attributes, z.attributes)
            return factor
        factor *= pairs.attributes[s].factor
    return factor


@lean_kernel
def note_missing(missing: NDArray[np.int64], kind: int, a: int, b: int) -> None:
    """Remember a pair that must be learned before this look can be weighed; row 0 counts them."""
    n = missing[0, 0]
    if n + 1 < len(missing):
        missing[n + 1, 0], missing[n + 1, 1], missing[n + 1, 2] = kind, a, b
        missing[0, 0] = n + 1


@lean_kernel
def weigh(
    f: Row,
    d: Row,
    pairs: Pairs,
    look: Row,
    s: Row,
    altitude: Row,
    b: Row,
    p: Row,
    r: float,
    z: Row,
    log_ref: float,
    missing: NDArray[np.int64],
    spare: Row,
    posterior: Row,
    histories: NDArray[np.float64],
    after: NDArray[np.float64],
    mix: NDArray[np.float64],
    group: NDArray[np.int64],
) -> float:
    """Weight of a track (row s, its prediction p to the look's time) and a detection z; its posterior where above 0.

    f, d: FILTER and DOMAIN rows. spare: a SPARE row to work in. histories, after: those of the prediction and, to be written, of
    the posterior. mix, group: as of the scratch.
    """
    if b.domain != z.domain and b.domain != _UNKNOWN_DOMAIN and z.domain != _UNKNOWN_DOMAIN:
        return 0.0
    anonymous = look.cooperative and z.identity == 0
    same = z.identity != 0 and ((b.id1 == z.identity and b.p1 > 0.5) or (b.id2 == z.identity and b.p2 > 0.5))
    qxx = 0.0
    if z.dt != 0.0:
        qxx, _, _ = process_noise(d.q, d.g, z.dt)
    east, north = offset(p.x, p.y, p.z, z.x, z.y, z.z)
    m2 = gate_distance(p, z, east, north, qxx)
    log_w = -math.inf
    if len(after):
        after[COUNT] = 0.0
    if m2 < f.gate:
        if count_of(histories):
            _update_histories(histories, p, z, east, north, qxx, spare, posterior, after, mix, group)
        else:
            update(p, z, east, north, qxx, posterior)
        log_w = posterior.loglik
    # Who reports itself without a name may have turned as well; then its position must do.
    if (
        (same or (anonymous and m2 < f.gate))
        and (m2 > _WELL or log_w < log_ref)
        and p.t > s.t
        and f.manoeuvre_probability > 0.0
    ):
        way = math.sqrt(east * east + north * north)
        if way < d.max_speed * (p.t - s.t) + math.sqrt(f.gate * (s.ee + s.nn + z.ree + z.rnn)):
            wide, h = spare.state, spare.posterior
            predict(s, p.t, d.q * f.manoeuvre_factor, d.g, d.great_circle != 0, wide)
            wide.ee += f.manoeuvre_jump * z.ree
            wide.en += f.manoeuvre_jump * z.ren
            wide.nn += f.manoeuvre_jump * z.rnn
            if gate_distance(wide, z, east, north, qxx) < f.gate:
                update(wide, z, east, north, qxx, h)
                wider = h.loglik + math.log(f.manoeuvre_probability)
                if wider > log_w:
                    log_w = wider
                    copy_posterior(h, posterior)
                    if len(after):
                        after[COUNT] = 0.0
                if z.va == z.va:
                    update_position(wide, z, east, north, qxx, h)
                    wider = h.loglik + math.log(f.wrong_velocity) + log_velocity(z, d)
                    if wider > log_w:
                        log_w = wider
                        copy_posterior(h, posterior)
                        if len(after):
                            after[COUNT] = 0.0
    if log_w == -math.inf:
        return 0.0
    log_w += altitude_loglik_ratio_bounded(altitude, b.datum, look.t + z.dt, z, f.altitude_span_m)
    if anonymous:
        log_w += rhythm(b, look.t)
    factor = identity_factor(b, z.identity, f.identity_error, f.identity_count)
    factor *= attribute_factor(f, pairs, b, z, missing)
    return r * look.p_detect * factor * math.exp(log_w - log_ref)


@lean_kernel
def rhythm(b: Row, t: float) -> float:
    """Log of how well a report without a name at time t fits the rhythm in which the track with belief b has been heard.

    A transponder keeps an interval: it hardly reports again at once, and one that has long been silent has most likely left
    its place in the air. Of a track that was heard once nothing is known.
    """
    if b.interval_s <= 0.0:
        return 0.0
    x = (t - b.seen) / b.interval_s
    if x < _AT_ONCE:
        return math.log(max(x / _AT_ONCE, _LEAST_RHYTHM))
    return -min(max(x - _SILENT, 0.0) / _FORGOTTEN, _MOST_SILENCE)


@lean_kernel
def _update_histories(
    histories: NDArray[np.float64],
    p: Row,
    z: Row,
    east: float,
    north: float,
    qxx: float,
    spare: Row,
    posterior: Row,
    after: NDArray[np.float64],
    mix: NDArray[np.float64],
    group: NDArray[np.int64],
) -> None:
    """Posterior of each history given all that detection z measures, into `after`; their moments into `posterior`.

    The log-likelihood is that of the mixture, log sum w_m exp(l_m).
    """
    count = count_of(histories)
    x, h = spare.state, spare.posterior
    best = -math.inf
    for m in range(count):
        at = FIRST + WIDTH * m
        history_row(histories, at, x)
        x.a += p.a
        x.b += p.b
        update(x, z, east - histories[at + E], north - histories[at + N], qxx, h)
        x.a, x.b = h.a + x.a - p.a, h.b + x.b - p.b
        x.ee, x.en, x.nn, x.ea, x.eb = h.ee, h.en, h.nn, h.ea, h.eb
        x.na, x.nb, x.aa, x.ab, x.bb = h.na, h.nb, h.aa, h.ab, h.bb
        put_history(mix[m], 0, histories[at + E] + h.e, histories[at + N] + h.n, x)
        mix[m, 1] = histories[at + 1]
        mix[m, W] = math.log(max(histories[at + W], 1e-300)) + h.loglik
        best = max(best, mix[m, W])
        group[m] = 0
    total = 0.0
    for m in range(count):
        mix[m, W] = math.exp(mix[m, W] - best)
        total += mix[m, W]
    after[COUNT] = count
    for m in range(count):
        mix[m, W] /= total
        for k in range(WIDTH):
            after[FIRST + WIDTH * m + k] = mix[m, k]
    match_moments(mix, 0, count, group, 0, count)
    history_row(mix[count], 0, x)
    posterior.e, posterior.n, posterior.a, posterior.b = mix[count, E], mix[count, N], x.a, x.b
    posterior.ee, posterior.en, posterior.nn, posterior.ea, posterior.eb = x.ee, x.en, x.nn, x.ea, x.eb
    posterior.na, posterior.nb, posterior.aa, posterior.ab, posterior.bb = x.na, x.nb, x.aa, x.ab, x.bb
    posterior.loglik = best + math.log(total)


@lean_kernel
def altitude_loglik_ratio_bounded(s: Row, datum: int, t: float, z: Row, span_m: float) -> float:
    """As `altitude_loglik_ratio`, at least log(1e-4): a height may be wrong by its setting, not by its sensor."""
    return max(altitude_loglik_ratio(s, datum, t, z, span_m), -9.2)


@lean_kernel
def copy_posterior(a: Row, b: Row) -> None:
    """Copy a POSTERIOR row."""
    b.e, b.n, b.a, b.b, b.loglik = a.e, a.n, a.a, a.b, a.loglik
    b.ee, b.en, b.nn, b.ea, b.eb = a.ee, a.en, a.nn, a.ea, a.eb
    b.na, b.nb, b.aa, b.ab, b.bb = a.na, a.nb, a.aa, a.ab, a.bb

"""What a look does to one track: existence, and the moment-matched state over "missed" and each of its detections."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.identity import add_identity, keep_two
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.scratch import OWN, Scratch
from apss_fusion.association.weights import Pairs
from apss_fusion.estimation.altitude import update_altitude
from apss_fusion.estimation.history import SOURCES, clear_history, copy_history
from apss_fusion.estimation.motion import process_noise
from apss_fusion.estimation.noise_bank import mean_factor, start_bank
from apss_fusion.estimation.rounding import probability, round_altitude, round_state, significant
from apss_fusion.geodesy.wgs84 import moved
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.project import missed_existence, take_outcome
from apss_fusion.tracking.rows import COASTING, CONFIRMED, TENTATIVE, UNKNOWN

#: A track that would have been detected with this probability and was not, was missed.
SHOULD_BE_SEEN = 0.5
#: Existence whose passing downwards is told to readers.
_STEPS = (0.9, 0.5, 0.2)


class Revision(NamedTuple):
    """Result for one track: new existence, total probability of being detected, edge of its own detection or -1.

    news: whether readers should know. shares: whether the look's source has shaped the track.
    """

    r: float
    hit: float
    own: int
    news: bool
    shares: bool


@inline_kernel
def existence(c: int, look: Row, scratch: Scratch) -> tuple[float, float, int]:
    """(existence after the look, total probability of detection, the edge of the track's own detection or -1)."""
    hit, own = 0.0, -1
    for e in range(scratch.c[c].edge, scratch.c[c + 1].edge):
        hit += scratch.e[e].p
        if scratch.e[e].p > OWN:
            own = e
    hit = min(hit, 1.0)
    return probability((1.0 - hit) * missed_existence(scratch.c[c]) + hit), hit, own


@inline_kernel
def mix_state(c: int, r: float, hit: float, scratch: Scratch, t: float, d: Row) -> None:
    """Moment match over the hypotheses of candidate c into state row d, rounded.

    x = sum g_h x_h and P = sum g_h (P_h + (x_h - x)(x_h - x)'), with g the shares of "missed" (the prediction) and of each
    detection in the new existence r.
    """
    p = scratch.c[c].pred
    g0 = max(0.0, 1.0 - hit / r)
    me = mn = ma = mb = 0.0
    for e in range(scratch.c[c].edge, scratch.c[c + 1].edge):
        g, h = scratch.e[e].p / r, scratch.e[e].posterior
        me += g * h.e
        mn += g * h.n
        ma += g * h.a
        mb += g * h.b
    d.ee = g0 * (p.ee + me * me)
    d.en = g0 * (p.en + me * mn)
    d.nn = g0 * (p.nn + mn * mn)
    d.ea = g0 * (p.ea + me * ma)
    d.eb = g0 * (p.eb + me * mb)
    d.na = g0 * (p.na + mn * ma)
    d.nb = g0 * (p.nb + mn * mb)
    d.aa = g0 * (p.aa + ma * ma)
    d.ab = g0 * (p.ab + ma * mb)
    d.bb = g0 * (p.bb + mb * mb)
    for e in range(scratch.c[c].edge, scratch.c[c + 1].edge):
        g, h = scratch.e[e].p / r, scratch.e[e].posterior
        if g <= 0.0:
            continue
        de, dn, da, db = h.e - me, h.n - mn, h.a - ma, h.b - mb
        d.ee += g * (h.ee + de * de)
        d.en += g * (h.en + de * dn)
        d.nn += g * (h.nn + dn * dn)
        d.ea += g * (h.ea + de * da)
        d.eb += g * (h.eb + de * db)
        d.na += g * (h.na + dn * da)
        d.nb += g * (h.nb + dn * db)
        d.aa += g * (h.aa + da * da)
        d.ab += g * (h.ab + da * db)
        d.bb += g * (h.bb + db * db)
    d.x, d.y, d.z = moved(p.x, p.y, p.z, me, mn)
    d.a, d.b, d.t = p.a + ma, p.b + mb, t
    round_state(d)


@lean_kernel
def projected_state(c: int, t: float, scratch: Scratch, s: Row) -> None:
    """Write the moments of the outcome of candidate c at time t into state row s, rounded."""
    p, x = scratch.c[c].pred, scratch.outcome[c].posterior
    s.ee, s.en, s.nn, s.ea, s.eb = x.ee, x.en, x.nn, x.ea, x.eb
    s.na, s.nb, s.aa, s.ab, s.bb = x.na, x.nb, x.aa, x.ab, x.bb
    s.x, s.y, s.z = moved(p.x, p.y, p.z, x.e, x.n)
    s.a, s.b, s.t = p.a + x.a, p.b + x.b, t
    round_state(s)


@inline_kernel
def mix_identity(b: Row, c: int, r: float, hit: float, z: NDArray[np.void], params: Params, scratch: Scratch) -> None:
    """The categorical of belief b over identities after the look."""
    # Certain of one identity, or of having none, and nothing that says otherwise: nothing to learn.
    settled = b.p1 == 1.0 or b.id1 == 0
    for e in range(scratch.c[c].edge, scratch.c[c + 1].edge):
        identity = z[scratch.e[e].detection].identity
        settled &= identity == 0 or (identity == b.id1 and b.p1 == 1.0)
    if settled:
        return
    eps, count = params.filter[0].identity_error, params.filter[0].identity_count
    n = add_identity(b, np.uint64(0), max(0.0, 1.0 - hit / r), eps, count, scratch.mixture, 0)
    for e in range(scratch.c[c].edge, scratch.c[c + 1].edge):
        identity = z[scratch.e[e].detection].identity
        n = add_identity(b, identity, scratch.e[e].p / r, eps, count, scratch.mixture, n)
    keep_two(scratch.mixture, n, b)


@lean_kernel
def take_size(b: Row, z: Row, params: Params) -> None:
    """Length and width of belief b updated by its own detection z."""
    if z.length_m == z.length_m:
        error = params.filter[0].length_error_share * z.length_m + params.filter[0].length_error_m
        var = error * error
        if b.length_m != b.length_m or b.length_m <= 0.0:
            b.length_m, b.length_var = z.length_m, var
        else:
            k = b.length_var / (b.length_var + var)
            b.length_m = significant(b.length_m + k * (z.length_m - b.length_m))
            b.length_var = significant(max((1.0 - k) * b.length_var, 1.0))
    if z.width_m == z.width_m:
        b.width_m = z.width_m


@inline_kernel
def take_own(a: Row, b: Row, z: Row, look: Row, params: Params, pairs: Pairs) -> None:
    """What a track learns from its own detection z beyond the state: altitude, size, attributes, domain, its rhythm."""
    if z.alt == z.alt or z.climb == z.climb:
        b.datum = update_altitude(a, b.datum, look.t + z.dt, z)
        round_altitude(a)
    take_size(b, z, params)
    if z.attributes != 0 and z.attributes != b.attributes:
        if b.attributes == 0:
            b.attributes = z.attributes
        else:
            b.attributes = pairs.attributes[find_pair(pairs.attributes, b.attributes, z.attributes)].value
    if b.domain == UNKNOWN:
        b.domain = z.domain
    gap = look.t - b.seen
    if gap > 0.0:
        b.interval_s = significant(
            gap if b.interval_s <= 0.0 else b.interval_s + params.filter[0].interval_gain * (gap - b.interval_s)
        )
    b.seen = look.t
    b.several = 1


@inline_kernel
def revise(
    s: Row,
    a: Row,
    b: Row,
    h: NDArray[np.float64],
    c: int,
    look: Row,
    z: NDArray[np.void],
    params: Params,
    pairs: Pairs,
    scratch: Scratch,
) -> Revision:
    """Apply the look to the rows s, a, b and histories h of candidate c.

    Where the new existence is below `recycle` only it is computed.
    """
    before = b.r
    projected = len(scratch.outcome) > 0
    if projected:
        o = scratch.outcome[c]
        r, hit, own, shares = o.r, o.hit, whole(o.own), o.shares != 0
    else:
        r, hit, own = existence(c, look, scratch)
        # Whatever shaped the track counts for its marking: a detection that was most likely another's, and a miss.
        shares = hit > 0.0 or scratch.c[c].seen > 0.0
    if r < params.filter[0].recycle:
        return Revision(r, hit, own, True, shares)
    status = b.status
    if projected:
        if hit > 0.0 or scratch.outcome[c].moved:
            projected_state(c, look.t, scratch, s)
            copy_history(scratch.o_h[c], h)
            b.factor = significant(mean_factor(h, params.factors, params.filter[0].least_factor))
            take_outcome(c, scratch.outcome[c], a, b)
        else:
            # Missed: nothing but its existence, and who shaped it.
            h[SOURCES] = scratch.outcome[c].sources
    elif hit > 0.0:
        mix_state(c, r, hit, scratch, look.t, s)
        mix_identity(b, c, r, hit, z, params, scratch)
    b.r, b.tr = r, look.t
    if own >= 0:
        take_own(a, b, z[scratch.e[own].detection], look, params, pairs)
        if b.status == COASTING:
            b.status = CONFIRMED
    elif b.status == CONFIRMED and scratch.c[c].seen >= SHOULD_BE_SEEN:
        b.status = COASTING
    if b.status == TENTATIVE and b.several and r >= params.filter[0].confirm:
        b.status = CONFIRMED
    news = own >= 0 or b.status != status
    for step in _STEPS:
        news |= before >= step > r
    return Revision(r, hit, own, news, shares)


@lean_kernel
def settle_velocity(z: Row, variance: float, d: Row) -> None:
    """Velocity of a new track: the prior N(0, variance) given what detection z says of it, into state row d."""
    d.a, d.b, d.aa, d.ab, d.bb = 0.0, 0.0, variance, 0.0, variance
    if z.va == z.va:
        see, snn, sen = variance + z.vaa, variance + z.vbb, z.vab
        det = see * snn - sen * sen
        iee, inn, ien = snn / det, see / det, -sen / det
        d.a = variance * (iee * z.va + ien * z.vb)
        d.b = variance * (ien * z.va + inn * z.vb)
        d.aa = variance - variance * variance * iee
        d.bb = variance - variance * variance * inn
        d.ab = -variance * variance * ien
    if z.rate == z.rate:
        ca, cb = d.aa * z.le + d.ab * z.ln, d.ab * z.le + d.bb * z.ln
        s = ca * z.le + cb * z.ln + z.rate_var
        y = z.rate - z.le * d.a - z.ln * d.b
        d.a += ca / s * y
        d.b += cb / s * y
        d.aa -= ca * ca / s
        d.ab -= ca * cb / s
        d.bb -= cb * cb / s


@inline_kernel
def found(
    s: Row, a: Row, b: Row, h: NDArray[np.float64], look: Row, z: Row, r: float, params: Params, pairs: Pairs
) -> None:
    """Write the rows of a new track, founded by detection z with existence r; row a (altitude) has been cleared.

    The set of the look's source alone is known.
    """
    clear_history(h)
    if len(h):
        h[SOURCES] = pairs.sets[find_pair(pairs.sets, 0, look.source)].value
    s.x, s.y, s.z, s.t = z.x, z.y, z.z, look.t
    s.ee, s.en, s.nn = z.ree, z.ren, z.rnn
    s.ea = s.eb = s.na = s.nb = 0.0
    settle_velocity(z, params.domain[z.domain].birth_speed_var, s)
    if z.dt != 0.0:
        # Seen dt beside the look's time: brought to it by the velocity, with that much more doubt.
        s.x, s.y, s.z = moved(z.x, z.y, z.z, -z.dt * s.a, -z.dt * s.b)
        s.ee += z.dt * z.dt * s.aa
        s.en += z.dt * z.dt * s.ab
        s.nn += z.dt * z.dt * s.bb
        s.ea, s.eb, s.na, s.nb = -z.dt * s.aa, -z.dt * s.ab, -z.dt * s.ab, -z.dt * s.bb
        qxx, _, _ = process_noise(params.domain[z.domain].q, params.domain[z.domain].g, z.dt)
        s.ee += qxx
        s.nn += qxx
    round_state(s)
    b.r, b.tr, b.seen, b.interval_s, b.key = r, look.t, look.t, 0.0, z.key
    start_bank(s, params.factors, params.filter[0].least_factor, h)
    b.factor = 1.0
    if len(h):
        b.factor = significant(mean_factor(h, params.factors, params.filter[0].least_factor))
    b.id1, b.p1, b.id2, b.p2 = z.identity, 0.0, np.uint64(0), 0.0
    if z.identity != 0:
        b.p1 = math.floor((1.0 - params.filter[0].identity_error) * 65536.0 + 0.5) / 65536.0
    b.attributes, b.domain, b.status, b.several, b.datum = z.attributes, z.domain, TENTATIVE, 0, 0
    b.length_m, b.length_var, b.width_m = math.nan, 0.0, math.nan
    take_size(b, z, params)
    b.datum = update_altitude(a, 0, look.t + z.dt, z)
    round_altitude(a)

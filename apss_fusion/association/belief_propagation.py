"""Marginal association probabilities by loopy belief propagation (Williams and Lau 2014), cluster by cluster.

With w_ij the weight of track i and detection j, w_i0 of "missed" and lambda_j of "new or clutter":

    nu_ij = w_ij / (w_i0 + sum over j' != j of w_ij' mu_ij'),   mu_ij = 1 / (lambda_j + sum over i' != i of nu_i'j)
    p_ij = w_ij mu_ij / (w_i0 + sum_j' w_ij' mu_ij'),           p_new_j = lambda_j / (lambda_j + sum_i nu_ij)

with a fixed number of sweeps, so that the result depends on the cluster alone; sums run in the order of track keys and of
detections. A cluster with one track or one detection is exact in closed form.
"""

from __future__ import annotations

from apss_fusion.association.scratch import Scratch
from apss_fusion.estimation.rounding import probability
from apss_fusion.kernels import lean_kernel


@lean_kernel
def marginals(count: int, scratch: Scratch, sweeps: int) -> None:
    """Write p of every edge (e_p) and of "new or clutter" (d_p_new), rounded to 2^-20.

    d_p_new of a detection without edges is left alone. Clusters as `clusters` has written them.
    """
    for g in range(count):
        low, high = scratch.c[g].start, scratch.c[g + 1].start
        i = scratch.c[low].order
        edges = scratch.c[i + 1].edge - scratch.c[i].edge
        if high - low == 1:
            if edges:
                _one_track(i, scratch)
        elif _one_detection(low, high, scratch):
            pass
        else:
            _propagate(low, high, scratch, sweeps)


@lean_kernel
def _one_track(i: int, scratch: Scratch) -> None:
    total = scratch.c[i].miss
    for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
        total += scratch.e[e].weight / scratch.d[scratch.e[e].detection].new
    for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
        j = scratch.e[e].detection
        p = scratch.e[e].weight / scratch.d[j].new / total
        scratch.e[e].p = probability(p)
        scratch.d[j].p_new = probability(1.0 - p)


@lean_kernel
def _one_detection(low: int, high: int, scratch: Scratch) -> bool:
    """Tracks that all have one edge, to the same detection; false where they have more."""
    for s in range(low, high):
        i = scratch.c[s].order
        if scratch.c[i + 1].edge - scratch.c[i].edge != 1:
            return False
    j = scratch.e[scratch.c[scratch.c[low].order].edge].detection
    total = scratch.d[j].new
    for s in range(low, high):
        i = scratch.c[s].order
        total += scratch.e[scratch.c[i].edge].weight / scratch.c[i].miss
    for s in range(low, high):
        i = scratch.c[s].order
        e = scratch.c[i].edge
        scratch.e[e].p = probability(scratch.e[e].weight / scratch.c[i].miss / total)
    scratch.d[j].p_new = probability(scratch.d[j].new / total)
    return True


@lean_kernel
def _propagate(low: int, high: int, scratch: Scratch, sweeps: int) -> None:
    edges, sums = scratch.e, scratch.d
    for s in range(low, high):
        i = scratch.c[s].order
        for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
            edges[e].p = 1.0 / scratch.d[scratch.e[e].detection].new
    for _ in range(sweeps):
        _reset(low, high, scratch)
        for s in range(low, high):
            i = scratch.c[s].order
            total = scratch.c[i].miss
            for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
                total += edges[e].weight * edges[e].p
            for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
                nu = edges[e].weight / max(total - edges[e].weight * edges[e].p, 1e-300)
                sums[scratch.e[e].detection].sum += nu
                edges[e].p = nu
        for s in range(low, high):
            i = scratch.c[s].order
            for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
                edges[e].p = 1.0 / max(sums[scratch.e[e].detection].sum - edges[e].p, 1e-300)
    for s in range(low, high):
        i = scratch.c[s].order
        total = scratch.c[i].miss
        for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
            total += edges[e].weight * edges[e].p
            j = scratch.e[e].detection
            scratch.d[j].p_new = probability(scratch.d[j].new / sums[j].sum)
        for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
            edges[e].p = probability(edges[e].weight * edges[e].p / total)


@lean_kernel
def _reset(low: int, high: int, scratch: Scratch) -> None:
    for s in range(low, high):
        i = scratch.c[s].order
        for e in range(scratch.c[i].edge, scratch.c[i + 1].edge):
            j = scratch.e[e].detection
            scratch.d[j].sum = scratch.d[j].new

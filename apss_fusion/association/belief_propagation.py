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
from apss_fusion.kernels import kernel


@kernel
def marginals(count: int, scratch: Scratch, sweeps: int) -> None:
    """Write p of every edge (e_p) and of "new or clutter" (d_p_new), rounded to 2^-20.

    d_p_new of a detection without edges is left alone. Clusters as `clusters` has written them.
    """
    for g in range(count):
        low, high = scratch.c_start[g], scratch.c_start[g + 1]
        i = scratch.c_order[low]
        edges = scratch.c_edge[i + 1] - scratch.c_edge[i]
        if high - low == 1:
            if edges:
                _one_track(i, scratch)
        elif _one_detection(low, high, scratch):
            pass
        else:
            _propagate(low, high, scratch, sweeps)


@kernel
def _one_track(i: int, scratch: Scratch) -> None:
    total = scratch.c_miss[i]
    for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
        total += scratch.e_weight[e] / scratch.d_new[scratch.e_detection[e]]
    for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
        j = scratch.e_detection[e]
        p = scratch.e_weight[e] / scratch.d_new[j] / total
        scratch.e_p[e] = probability(p)
        scratch.d_p_new[j] = probability(1.0 - p)


@kernel
def _one_detection(low: int, high: int, scratch: Scratch) -> bool:
    """Tracks that all have one edge, to the same detection; false where they have more."""
    for s in range(low, high):
        i = scratch.c_order[s]
        if scratch.c_edge[i + 1] - scratch.c_edge[i] != 1:
            return False
    j = scratch.e_detection[scratch.c_edge[scratch.c_order[low]]]
    total = scratch.d_new[j]
    for s in range(low, high):
        i = scratch.c_order[s]
        total += scratch.e_weight[scratch.c_edge[i]] / scratch.c_miss[i]
    for s in range(low, high):
        i = scratch.c_order[s]
        e = scratch.c_edge[i]
        scratch.e_p[e] = probability(scratch.e_weight[e] / scratch.c_miss[i] / total)
    scratch.d_p_new[j] = probability(scratch.d_new[j] / total)
    return True


@kernel
def _propagate(low: int, high: int, scratch: Scratch, sweeps: int) -> None:
    mu, w, total_j = scratch.e_p, scratch.e_weight, scratch.d_sum
    for s in range(low, high):
        i = scratch.c_order[s]
        for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
            mu[e] = 1.0 / scratch.d_new[scratch.e_detection[e]]
    for _ in range(sweeps):
        _reset(low, high, scratch)
        for s in range(low, high):
            i = scratch.c_order[s]
            total = scratch.c_miss[i]
            for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
                total += w[e] * mu[e]
            for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
                nu = w[e] / max(total - w[e] * mu[e], 1e-300)
                total_j[scratch.e_detection[e]] += nu
                mu[e] = nu
        for s in range(low, high):
            i = scratch.c_order[s]
            for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
                mu[e] = 1.0 / max(total_j[scratch.e_detection[e]] - mu[e], 1e-300)
    for s in range(low, high):
        i = scratch.c_order[s]
        total = scratch.c_miss[i]
        for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
            total += w[e] * mu[e]
            j = scratch.e_detection[e]
            scratch.d_p_new[j] = probability(scratch.d_new[j] / total_j[j])
        for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
            mu[e] = probability(w[e] * mu[e] / total)


@kernel
def _reset(low: int, high: int, scratch: Scratch) -> None:
    for s in range(low, high):
        i = scratch.c_order[s]
        for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
            j = scratch.e_detection[e]
            scratch.d_sum[j] = scratch.d_new[j]

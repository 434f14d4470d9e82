"""How the updates of a track hang together: which are links of its chain, which are only told in between."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.smoothing.records import Updates

IntArray = NDArray[np.int64]


class Chains(NamedTuple):
    """The chains of all tracks, one after the other.

    A **link** is an update in which the track's state was changed by what was seen. What hangs **between** two links is
    an update that only predicts the link before it.
    """

    #: Row in the file of each link (m,), by track and time; whether the next link is of the same track.
    link: IntArray
    goes_on: NDArray[np.bool_]
    #: Rows that lie between links (k,), and the number of the link before each, which has a next one.
    between: IntArray
    before: IntArray


def chains(u: Updates, replaced: NDArray[np.bool_]) -> Chains:
    """Order the updates of each track by (time, seq) and tell links from what lies between them.

    An update is a mere prediction if its last detection is that of the link before it and it used none itself (a revision
    names the late detection as its evidence, not what its state is of).

    replaced: which updates (n,) are no longer true; they are no links, and lie between those that still hold.
    """
    order = np.lexsort((u.seq, u.time_us, u.track))
    link: list[int] = []
    between: list[int] = []
    before: list[int] = []
    track, detected = u.track.tolist(), (u.detected & ~u.revises).tolist()
    seen, time, gone = u.seen_us.tolist(), u.time_us.tolist(), replaced.tolist()
    last = -1
    for i in order.tolist():
        mine = last >= 0 and track[link[last]] == track[i]
        predicted = mine and not detected[i] and seen[i] == seen[link[last]] and time[i] > seen[i]
        if gone[i] or predicted:
            if mine:
                between.append(i)
                before.append(last)
            continue
        link.append(i)
        last += 1
    rows = np.array(link, np.int64)
    goes_on = np.zeros(len(rows), np.bool_)
    goes_on[:-1] = u.track[rows[1:]] == u.track[rows[:-1]]
    hangs, after = np.array(between, np.int64), np.array(before, np.int64)
    inside = goes_on[after] if len(after) else np.zeros(0, np.bool_)
    return Chains(rows, goes_on, hangs[inside], after[inside])


def revisions(u: Updates) -> tuple[IntArray, IntArray]:
    """Rows of all revisions (m,), and for each the update that its track had published before, by seq."""
    order = np.lexsort((u.seq, u.track))
    follows = order[1:][u.track[order[1:]] == u.track[order[:-1]]]
    before = order[:-1][u.track[order[1:]] == u.track[order[:-1]]]
    which = u.revises[follows]
    return follows[which], before[which]


def replaced_by(u: Updates, revision: IntArray) -> NDArray[np.bool_]:
    """Updates (n,) told before one of these revisions of their track, of times from its `revised_from` on."""
    out = np.zeros(len(u.seq), np.bool_)
    counts = np.zeros(len(u.seq), np.bool_)
    counts[revision] = True
    track, time, revised = u.track.tolist(), u.time_us.tolist(), u.revised_us.tolist()
    # From the last seq of each track backwards: the earliest time from which anything later revises.
    earliest: dict[int, int] = {}
    for i in np.lexsort((u.seq, u.track))[::-1].tolist():
        k = track[i]
        out[i] = k in earliest and time[i] >= earliest[k]
        if counts[i]:
            earliest[k] = min(revised[i], earliest.get(k, revised[i]))
    return out

"""Association: how well tracks gather the detections of one object each, from labels alone.

Detections, in order of time, have two labels: `owner`, the object that really caused it, and `track`, the track that it
was given to. ``NONE`` (-1) as an owner is clutter, as a track it is a detection that no track took. Conventions:

- clutter in a track is a mistake of purity and is nobody's majority; clutter outside all tracks is right;
- a detection of an object outside all tracks is a mistake of completeness, no switch and no fragment;
- in the adjusted Rand index every clutter detection is a class of its own, every detection outside all tracks a cluster
  of its own: leaving all clutter alone and giving each object its own track is a score of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]

#: Clutter, as an owner; in no track, as a track.
NONE = -1


def adjusted_rand_index(a: ArrayLike, b: ArrayLike) -> float:
    """Agreement of two partitions of the same elements, labels (k,) each: 1 the same, about 0 by chance.

    Hubert and Arabie 1985, "Comparing partitions", Journal of Classification 2: the Rand index less what is expected of
    random partitions with the same sizes of parts. No labels are anything but names here, not even ``NONE``.
    """
    a, b = _labels(a, b)
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    together = _pairs_within(a * (int(b.max(initial=0)) + 1) + b)
    only_a, only_b = _pairs_within(a) - together, _pairs_within(b) - together
    apart = len(a) * (len(a) - 1) // 2 - together - only_a - only_b
    if not only_a and not only_b:
        return 1.0
    chance = (together + only_a) * (only_a + apart) + (together + only_b) * (only_b + apart)
    return 2.0 * (together * apart - only_a * only_b) / chance


def association_rand_index(owner: ArrayLike, track: ArrayLike) -> float:
    """The adjusted Rand index of owners and tracks (k,), each ``NONE`` standing alone."""
    return adjusted_rand_index(*(_alone(labels) for labels in _labels(owner, track)))


def purity(owner: ArrayLike, track: ArrayLike) -> float | None:
    """Share of the detections in tracks that belong to their track's most frequent object; None without any."""
    owner, track = _labels(owner, track)
    return _majority(track, owner)


def completeness(owner: ArrayLike, track: ArrayLike) -> float | None:
    """Share of the detections of objects that are in their object's most frequent track; None without any."""
    owner, track = _labels(owner, track)
    return _majority(owner, track)


def fragmentation(owner: ArrayLike, track: ArrayLike) -> float | None:
    """How many tracks hold an object's detections, as a mean over the objects that have any in a track; 1 is best."""
    owner, track = _labels(owner, track)
    held = (owner != NONE) & (track != NONE)
    objects = np.unique(owner[held])
    if not len(objects):
        return None
    return len(np.unique(np.column_stack([owner[held], track[held]]), axis=0)) / len(objects)


def identity_switches(owner: ArrayLike, track: ArrayLike) -> int:
    """How often an object's detection is in another track than the object's last one that is in any."""
    owner, track = _labels(owner, track)
    held = (owner != NONE) & (track != NONE)
    order = np.argsort(owner[held], kind="stable")
    owner, track = owner[held][order], track[held][order]
    return int(np.count_nonzero((np.diff(owner) == 0) & (np.diff(track) != 0)))


def _labels(a: ArrayLike, b: ArrayLike) -> tuple[IntArray, IntArray]:
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"labels are two lists of the same length, not of shapes {first.shape} and {second.shape}")
    if len(first) and not (np.issubdtype(first.dtype, np.integer) and np.issubdtype(second.dtype, np.integer)):
        raise ValueError("labels are whole numbers")
    return first.astype(np.int64), second.astype(np.int64)


def _alone(labels: IntArray) -> IntArray:
    """Labels in which each ``NONE`` has a name of its own."""
    none = labels == NONE
    return np.where(none, labels.max(initial=0) + np.cumsum(none), labels)


def _majority(group: IntArray, member: IntArray) -> float | None:
    """Share of what is in groups that carries its group's most frequent member; ``NONE`` is no group and no member."""
    everything = np.count_nonzero(group != NONE)
    if not everything:
        return None
    real = (group != NONE) & (member != NONE)
    (which, _), count = np.unique(np.stack([group[real], member[real]]), axis=1, return_counts=True)
    _, number = np.unique(which, return_inverse=True)
    most = np.zeros(number.max(initial=-1) + 1, np.int64)
    np.maximum.at(most, number, count)
    return float(most.sum() / everything)


def _pairs_within(part: IntArray) -> int:
    """Number of pairs of elements of the same part, as a Python integer that does not overflow."""
    sizes = np.unique(part, return_counts=True)[1]
    return int(sum(int(size) * (int(size) - 1) // 2 for size in sizes))

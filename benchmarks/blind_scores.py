"""How well tracks keep objects apart and together: two labellings of the same detections compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Scores(NamedTuple):
    """Scores of tracks against objects over the detections that are somebody's."""

    #: Adjusted Rand index: 1 for the same partition, 0 for what chance gives (Hubert and Arabie 1985).
    ari: float
    #: Times that an object's detection has another track than its last one.
    switches: int
    #: Share of detections whose object is the most frequent one of their track.
    purity: float
    #: Share of detections whose track is the most frequent one of their object.
    completeness: float
    objects: int
    tracks: int


def adjusted_rand_index(objects: Sequence[Hashable], tracks: Sequence[Hashable]) -> float:
    """The adjusted Rand index of two labellings (n,) of the same items, by counts of pairs as in scikit-learn."""
    together = Counter(zip(objects, tracks, strict=True))
    n = len(objects)
    both = sum(c * c for c in together.values())
    by_object = sum(c * c for c in Counter(objects).values())
    by_track = sum(c * c for c in Counter(tracks).values())
    # Ordered pairs: together in both, in the tracks alone, in the objects alone, in neither.
    tp, fp, fn = both - n, by_track - both, by_object - both
    tn = n * n - both - fp - fn
    if fp == 0 and fn == 0:
        return 1.0
    return 2.0 * (tp * tn - fn * fp) / ((tp + fn) * (fn + tn) + (tp + fp) * (fp + tn))


def scores(objects: Sequence[Hashable], tracks: Sequence[Hashable | None]) -> Scores:
    """Scores of detections in the order of time: whose each was, and which track took it (None: a track of its own)."""
    owners: list[Hashable] = [("alone", k) if track is None else track for k, track in enumerate(tracks)]
    if not owners:
        return Scores(1.0, 0, 1.0, 1.0, 0, 0)
    last: dict[Hashable, Hashable] = {}
    switches = 0
    for item, owner in zip(objects, owners, strict=True):
        switches += last.setdefault(item, owner) != owner
        last[item] = owner
    together = Counter(zip(objects, owners, strict=True))
    of_track: dict[Hashable, int] = {}
    of_object: dict[Hashable, int] = {}
    for (item, owner), count in together.items():
        of_track[owner] = max(of_track.get(owner, 0), count)
        of_object[item] = max(of_object.get(item, 0), count)
    n = len(owners)
    return Scores(
        adjusted_rand_index(objects, owners),
        switches,
        sum(of_track.values()) / n,
        sum(of_object.values()) / n,
        len(of_object),
        len(of_track),
    )

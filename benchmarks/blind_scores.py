"""How well tracks keep objects apart and together: two labellings of the same detections compared."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from apss_fusion.evaluation import adjusted_rand_index, completeness, identity_switches, purity


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


def scores(objects: Sequence[Hashable], tracks: Sequence[Hashable | None]) -> Scores:
    """Scores of detections in the order of time: whose each was, and which track took it (None: a track of its own)."""
    owner = _numbered(objects)
    track = _numbered([("alone", k) if name is None else name for k, name in enumerate(tracks)])
    pure, complete = purity(owner, track), completeness(owner, track)
    if pure is None or complete is None:
        return Scores(1.0, 0, 1.0, 1.0, 0, 0)
    return Scores(
        adjusted_rand_index(owner, track),
        identity_switches(owner, track),
        pure,
        complete,
        max(owner) + 1,
        max(track) + 1,
    )


def _numbered(labels: Sequence[Hashable]) -> list[int]:
    """The labels as numbers, 0, 1, ..., in the order of their first use."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]

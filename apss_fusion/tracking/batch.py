"""Many looks as arrays: what the filter reads and the writers of evidence look names up in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.kernels import kernel
from apss_fusion.tracking.hashing import copy_bytes
from apss_fusion.tracking.rows import DETECTION, LOOK


class Rejection(Struct, frozen=True, order=True):
    """A look, or one detection of a look, that cannot be used."""

    #: Number of the look in the sequence that was encoded, and of the detection in it; -1 for the look as a whole.
    look: int
    detection: int
    field: str
    reason: str


class LookBatch:
    """Looks in order of arrival.

    Detections of look i are ``detections[first : first + count]``. The detections lie in the order of their looks, and
    so does the text: the id of a look, then the ids of its detections.

    Attributes
    ----------
    looks, detections
        Rows of `LOOK` and `DETECTION`, (n,) and (m,).
    text
        All look and detection ids, UTF-8, (t,) bytes.
    footprints
        ``LOOK.footprint`` is an index into them.
    rejected
        What was not used of the `given` looks that were encoded; parts and new orders of a batch do not keep it.
    """

    __slots__ = ("detections", "footprints", "given", "looks", "rejected", "text")

    def __init__(
        self,
        looks: NDArray[np.void],
        detections: NDArray[np.void],
        text: NDArray[np.uint8],
        footprints: list[Footprint],
        rejected: Sequence[Rejection] = (),
        given: int | None = None,
    ) -> None:
        self.looks = looks
        self.detections = detections
        self.text = text
        self.footprints = footprints
        self.rejected = list(rejected)
        self.given = len(looks) if given is None else given

    @classmethod
    def empty(cls) -> LookBatch:
        """No looks."""
        return cls(np.zeros(0, LOOK), np.zeros(0, DETECTION), np.zeros(0, np.uint8), [])

    def __len__(self) -> int:
        return len(self.looks)

    def look_id(self, i: int) -> str:
        """The id of look i."""
        return self._text(self.looks[i])

    def detection_id(self, j: int) -> str:
        """The id of detection j of the batch."""
        return self._text(self.detections[j])

    def take(self, start: int, stop: int) -> LookBatch:
        """The looks from `start` to before `stop`, as a batch of their own."""
        start, stop, _ = slice(start, stop).indices(len(self))
        if start == 0 and stop == len(self):
            return LookBatch(self.looks, self.detections, self.text, self.footprints)
        looks = self.looks[start : max(start, stop)].copy()
        if not len(looks):
            return LookBatch.empty()
        first, text_start = int(looks[0]["first"]), int(looks[0]["id_at"])
        last = int(looks[-1]["first"] + looks[-1]["count"])
        text_stop = int(self.looks[stop]["id_at"]) if stop < len(self) else len(self.text)
        detections = self.detections[first:last].copy()
        looks["first"] -= first
        looks["id_at"] -= text_start
        detections["id_at"] -= text_start
        text = self.text[text_start:text_stop]
        return LookBatch(looks, detections, text, used_footprints(looks, self.footprints))

    def order(self, indices: ArrayLike) -> LookBatch:
        """The looks with these numbers, in this order, as a batch of their own."""
        chosen = np.asarray(indices, np.int64)
        n_detections, n_text = self.sizes(chosen)
        looks, detections = np.zeros(len(chosen), LOOK), np.zeros(n_detections, DETECTION)
        text = np.zeros(n_text, np.uint8)
        self.copy(chosen, looks, detections, text)
        return LookBatch(looks, detections, text, used_footprints(looks, self.footprints))

    def sizes(self, chosen: NDArray[np.int64]) -> tuple[int, int]:
        """How many detections and bytes of text the looks with these numbers have."""
        n_detections, n_text = _sizes(chosen, self.looks, self.detections)
        return n_detections, n_text

    def copy(
        self,
        chosen: NDArray[np.int64],
        looks: NDArray[np.void],
        detections: NDArray[np.void],
        text: NDArray[np.uint8],
    ) -> None:
        """Write the looks with these numbers, in this order, into the arrays of a batch of their own (but for footprints)."""
        _gather(chosen, self.looks, self.detections, self.text, looks, detections, text)

    @staticmethod
    def concat(batches: Sequence[LookBatch]) -> LookBatch:
        """The looks of all batches, one after the other, with what was rejected of each."""
        if not batches:
            return LookBatch.empty()
        if len(batches) == 1:
            return batches[0]
        looks = np.concatenate([b.looks for b in batches])
        detections = np.concatenate([b.detections for b in batches])
        text = np.concatenate([b.text for b in batches])
        footprints: list[Footprint] = []
        rejected: list[Rejection] = []
        i = j = at = given = 0
        for b in batches:
            own, own_detections = looks[i : i + len(b)], detections[j : j + len(b.detections)]
            own["first"] += j
            own["id_at"] += at
            own_detections["id_at"] += at
            own["footprint"][own["footprint"] >= 0] += len(footprints)
            footprints += b.footprints
            rejected += [Rejection(r.look + given, r.detection, r.field, r.reason) for r in b.rejected]
            i, j, at, given = i + len(b), j + len(b.detections), at + len(b.text), given + b.given
        return LookBatch(looks, detections, text, used_footprints(looks, footprints), rejected, given)

    def _text(self, row: np.void) -> str:
        start = int(row["id_at"])
        return self.text[start : start + int(row["id_length"])].tobytes().decode()


def used_footprints(looks: NDArray[np.void], footprints: list[Footprint]) -> list[Footprint]:
    """The footprints that `looks` use, each once, in the order of their first use; renumbers the looks in place."""
    used: list[Footprint] = []
    numbers: dict[int, int] = {}
    for i in np.flatnonzero(looks["footprint"] >= 0).tolist():
        footprint = footprints[looks["footprint"][i]]
        number = numbers.setdefault(id(footprint), len(used))
        if number == len(used):
            used.append(footprint)
        looks["footprint"][i] = number
    return used


@kernel
def _sizes(chosen: NDArray[np.int64], looks: NDArray[np.void], detections: NDArray[np.void]) -> tuple[int, int]:
    n_detections = n_text = 0
    for k in range(len(chosen)):
        i = chosen[k]
        if i < 0 or i >= len(looks):
            raise IndexError("no such look")
        n_detections += looks[i].count
        n_text += looks[i].id_length
        for j in range(looks[i].first, looks[i].first + looks[i].count):
            n_text += detections[j].id_length
    return n_detections, n_text


@kernel
def _gather(
    chosen: NDArray[np.int64],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
    text: NDArray[np.uint8],
    out_looks: NDArray[np.void],
    out_detections: NDArray[np.void],
    out_text: NDArray[np.uint8],
) -> None:
    d = p = 0
    for k in range(len(chosen)):
        i = chosen[k]
        out_looks[k] = looks[i]
        out_looks[k].first = d
        out_looks[k].id_at = p
        p = copy_bytes(text, looks[i].id_at, looks[i].id_length, out_text, p)
        for j in range(looks[i].first, looks[i].first + looks[i].count):
            out_detections[d] = detections[j]
            out_detections[d].id_at = p
            p = copy_bytes(text, detections[j].id_at, detections[j].id_length, out_text, p)
            d += 1

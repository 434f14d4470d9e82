"""Looks and their detections as columns: the last step that touches a Python object of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.tracking.detection_rows import ELLIPSE, N_NUMBERS, NUMBERS
from apss_fusion.tracking.look_rows import LOOK_NUMBERS
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES
from apss_fusion.tracking.spellings import Spellings
from apss_fusion.tracking.times import times_us

_DOMAINS = {name: number for number, name in enumerate(DOMAIN_NAMES)}
_DATUMS = {name: number for number, name in enumerate(DATUM_NAMES)}
_GET_NUMBERS = [attrgetter(name) for name in NUMBERS]
_GET_ELLIPSE = [attrgetter(name) for name in ELLIPSE]
_GET_DETECTIONS = attrgetter("detections")
_GET_LOOK_NUMBERS = [attrgetter(name) for name in LOOK_NUMBERS]

#: Field and reason.
Fault = tuple[str, str]


@dataclass(slots=True)
class Columns:
    """n looks and their m detections, in the order of the looks, with what is wrong with them still in.

    Unknown numbers are NaN, unknown times `NO_TIME_US`, and `BAD_TIME_US` is a time that cannot be read.
    """

    #: Bytes that hold all ids, UTF-8, and where each look's, (n,), and detection's, (m,), begins; how long it is.
    text: NDArray[np.uint8]
    look_id_at: NDArray[np.int64]
    look_id_length: NDArray[np.int64]
    detection_id_at: NDArray[np.int64]
    detection_id_length: NDArray[np.int64]
    #: Numbers of the sources, (n,).
    sources: NDArray[np.int32]
    time_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    #: `LOOK_NUMBERS`, (n, 3).
    look_numbers: NDArray[np.float64]
    #: Number of detections, (n,).
    counts: NDArray[np.int64]
    #: `NUMBERS`, the ellipse and the covariance, (m, N_NUMBERS).
    numbers: NDArray[np.float64]
    detection_time_us: NDArray[np.int64]
    domain: NDArray[np.int8]
    datum: NDArray[np.int8]
    attributes: NDArray[np.int64]
    #: Index into `footprints`, -1 for none, and the hash of its content, 0 for none, (n,).
    footprint: NDArray[np.int32]
    footprint_hash: NDArray[np.uint64]
    footprints: list[Footprint] = field(default_factory=list)
    #: What is known to be wrong from the start, by look and by detection (of all m).
    look_faults: dict[int, Fault] = field(default_factory=dict)
    detection_faults: dict[int, Fault] = field(default_factory=dict)

    def firsts(self) -> NDArray[np.int64]:
        """Where each look's detections begin, and where the last one's end, (n + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])

    def kept(self, looks: NDArray[np.bool_], detections: NDArray[np.bool_]) -> Columns:
        """These looks and these detections (of these looks) alone, (n,) and (m,), taken to be good."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        detections = detections & looks[owner]
        counts = np.bincount(owner[detections], minlength=len(self.counts))[looks]
        return Columns(
            self.text,
            self.look_id_at[looks],
            self.look_id_length[looks],
            self.detection_id_at[detections],
            self.detection_id_length[detections],
            self.sources[looks],
            self.time_us[looks],
            self.end_us[looks],
            self.received_us[looks],
            self.look_numbers[looks],
            counts.astype(np.int64),
            self.numbers[detections],
            self.detection_time_us[detections],
            self.domain[detections],
            self.datum[detections],
            self.attributes[detections],
            self.footprint[looks],
            self.footprint_hash[looks],
            self.footprints,
        )

    def put_attributes(self, ids: Sequence[Any], classes: Sequence[Any], number: Callable[[Any, Any], int]) -> None:
        """Number the ids and class probabilities of all detections; what is wrong with them is kept as a fault."""
        try:
            self.attributes[:] = list(map(number, ids, classes))
        except ValueError:
            for j, pair in enumerate(zip(ids, classes, strict=True)):
                try:
                    self.attributes[j] = number(*pair)
                except ValueError as error:
                    self.detection_faults[j] = _fault_of(error)

    def put_spelled_attributes(
        self,
        text: NDArray[np.uint8],
        edges: NDArray[np.int64],
        spellings: Spellings,
        compute: Callable[[list[int]], Iterable[int | ValueError]],
    ) -> None:
        """As `put_attributes`, by parts of a text that are equal only where ids and classes are.

        `compute` gives the numbers, or errors, of some detections whose parts were not met before.
        """
        wrong: dict[int, ValueError] = {}
        self.attributes[:] = spellings.numbers(text, edges, compute, wrong)
        self.detection_faults |= {j: _fault_of(error) for j, error in wrong.items()}

    def put_footprints(self, shapes: list[Any], of: Callable[[Any], tuple[Footprint, int]]) -> None:
        """Number the footprints of all looks (``None`` for none); what is wrong is kept as a fault."""
        numbers: dict[int, int] = {}
        for i, shape in enumerate(shapes):
            if shape is None:
                continue
            try:
                footprint, content = of(shape)
            except ValueError as error:
                self.look_faults[i] = "footprint", str(error)
                continue
            number = numbers.setdefault(id(footprint), len(self.footprints))
            if number == len(self.footprints):
                self.footprints.append(footprint)
            self.footprint[i] = number
            self.footprint_hash[i] = content

    def note_empty_ids(self) -> None:
        """Add the faults of ids without a character."""
        self.look_faults |= dict.fromkeys(np.flatnonzero(self.look_id_length == 0).tolist(), ("look_id", "empty"))
        empty = np.flatnonzero(self.detection_id_length == 0).tolist()
        self.detection_faults |= dict.fromkeys(empty, ("detection_id", "empty"))


def _fault_of(error: ValueError) -> Fault:
    name, _, reason = str(error).partition(": ")
    return name, reason


def columns_of(
    looks: Sequence[Any],
    source_number: Callable[[str], int],
    attribute_number: Callable[[Any, Any], int],
    footprint: Callable[[Any], tuple[Footprint, int]],
) -> Columns:
    """Columns of structs with the fields of `Look` and `Detection`.

    Parameters
    ----------
    source_number
        Of a source id.
    attribute_number
        Of ids and class probabilities as the structs hold them; ``ValueError`` (``field: reason``) where wrong.
    footprint
        The footprint of what the structs hold for one, and its hash; ``ValueError`` where that is wrong.

    Raises
    ------
    TypeError, ValueError, AttributeError, KeyError, OverflowError
        A field is of no type that it may have, or a text is not Unicode.
    """
    per_look = list(map(_GET_DETECTIONS, looks))
    detections = list(chain.from_iterable(per_look))
    n, m = len(looks), len(detections)
    numbers = np.full((m, N_NUMBERS), np.nan)
    for i, get in enumerate(_GET_NUMBERS):
        _put(numbers[:, i], list(map(get, detections)))
    _put_nested(numbers[:, len(NUMBERS) :], detections)
    look_numbers = np.full((n, len(LOOK_NUMBERS)), np.nan)
    for i, get in enumerate(_GET_LOOK_NUMBERS):
        _put(look_numbers[:, i], list(map(get, looks)))
    source_ids = [look.source_id for look in looks]
    sources = {name: source_number(name) for name in dict.fromkeys(source_ids)}
    text, at, length = _joined([look.look_id for look in looks] + [d.detection_id for d in detections])
    columns = Columns(
        text,
        at[:n],
        length[:n],
        at[n:],
        length[n:],
        np.fromiter(map(sources.__getitem__, source_ids), np.int32, n),
        times_us([look.time for look in looks]),
        times_us([look.time_end for look in looks]),
        times_us([look.time_received for look in looks]),
        look_numbers,
        np.fromiter(map(len, per_look), np.int64, n),
        numbers,
        times_us([d.time for d in detections]),
        np.fromiter(map(_DOMAINS.__getitem__, [d.domain for d in detections]), np.int8, m),
        np.fromiter(map(_DATUMS.__getitem__, [d.alt_datum for d in detections]), np.int8, m),
        np.zeros(m, np.int64),
        np.full(n, -1, np.int32),
        np.zeros(n, np.uint64),
    )
    columns.note_empty_ids()
    if "" in sources:
        columns.look_faults |= {i: ("source_id", "empty") for i, name in enumerate(source_ids) if not name}
    columns.put_attributes([d.ids for d in detections], [d.class_probs for d in detections], attribute_number)
    columns.put_footprints([look.footprint for look in looks], footprint)
    return columns


def _joined(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """All texts one after the other as UTF-8, where each begins, and its length in bytes."""
    whole = "".join(texts)
    data = whole.encode()
    if len(data) == len(whole):
        length = np.fromiter(map(len, texts), np.int64, len(texts))
    else:
        length = np.fromiter([len(t.encode()) for t in texts], np.int64, len(texts))
    return np.frombuffer(bytearray(data), np.uint8), np.cumsum(length) - length, length


def _put(column: NDArray[np.float64], values: list[Any]) -> None:
    """Set the known ones of `values`; a column without any stays NaN."""
    known = len(values) - values.count(None)
    if known == len(values):
        column[:] = values
    elif known:
        column[:] = np.array(values, np.float64)


def _put_nested(columns: NDArray[np.float64], detections: list[Any]) -> None:
    ellipses = [d.ellipse for d in detections]
    if ellipses.count(None) < len(ellipses):
        at = [j for j, e in enumerate(ellipses) if e is not None]
        known = [ellipses[j] for j in at]
        for i, get in enumerate(_GET_ELLIPSE):
            columns[at, i] = list(map(get, known))
    covariances = [d.cov_enu_m2 for d in detections]
    if covariances.count(None) < len(covariances):
        at = [j for j, c in enumerate(covariances) if c is not None]
        columns[at, len(ELLIPSE) :] = np.array([covariances[j] for j in at], np.float64).reshape(len(at), 3)

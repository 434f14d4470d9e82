"""Track updates as arrays, and each as a struct for whom one is enough.

What is published is rounded once, here: a number is a whole multiple of a power of ten, so that the text, the columns
of an archive and the struct of an update hold the same value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, inline_kernel, kernel
from apss_fusion.model.track import Contributor, Evidence, Marking, TrackEllipse, TrackUpdate
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, FLAG_NAMES, REASON_NAMES, STATUS_NAMES

if TYPE_CHECKING:
    from apss_fusion.tracking.attributes import Attributes
    from apss_fusion.tracking.register import Register

#: Columns of `Numbers.scaled`. COV is the first of ten, by rows of the upper triangle of (e, n, ve, vn).
LAT, LON, ALT, ALT_SIGMA, SPEED, COURSE, V_EAST, V_NORTH, V_UP, COV = range(10)
MAJOR, MINOR, ORIENTATION, EXISTENCE, LENGTH, WIDTH, COLUMNS = range(19, 26)
#: Decimals of each; those of COV depend on the values.
DECIMALS = np.array([7, 7, 1, 1, 2, 2, 3, 3, 3, *[0] * 10, 1, 1, 1, 6, 1, 1], np.uint8)
WEIGHT_DECIMALS = 6
#: A scaled number that is unknown.
NULL = np.iinfo(np.int64).min
H3_RESOLUTION = 7
#: The bits of an update's flags that have a name.
FLAGS_MASK = (1 << len(FLAG_NAMES)) - 1

#: Semi-axes of the 95 % ellipse in sigmas: the root of the 0.95 quantile of chi-squared with 2 degrees of freedom.
ELLIPSE95_SIGMAS = math.sqrt(-2.0 * math.log(0.05))

# A covariance is written as a whole number from here on (seven digits), but never with more than 12 decimals.
_COV_LEAST = 1e6
_COV_MOST_DECIMALS = 12
# A climb with a larger variance, in m^2/s^2, is not known.
_CLIMB_VAR_MAX = 1e6
# Whole numbers up to here are exact as float64.
_EXACT = 2.0**53 - 1.0
# As a whole number, in kernels.
_whole: Any = np.int64
_POW10 = 10.0 ** np.arange(16)
_RAD, _DEG = math.pi / 180.0, 180.0 / math.pi
_IDS = msgspec.json.Decoder(dict[str, str])
_CLASSES = msgspec.json.Decoder(dict[str, float])
_HEAD = msgspec.json.Decoder(dict[str, Any])
_MARKING = msgspec.json.Decoder(Marking)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Numbers(NamedTuple):
    """What a batch of updates publishes in numbers: value = scaled / 10^decimals, unknown where scaled is NULL."""

    scaled: NDArray[np.int64]  # (n, COLUMNS)
    decimals: NDArray[np.uint8]  # (n, COLUMNS)
    seen_us: NDArray[np.int64]  # (n,) time of the last detection
    h3: NDArray[np.uint64]  # (n,) cell of the published position

    def values(self) -> NDArray[np.float64]:
        """The numbers as float64 (n, COLUMNS), NaN where unknown: the floats nearest to their decimals."""
        values = self.scaled / _POW10[self.decimals]
        values[self.scaled == NULL] = np.nan
        return values


@inline_kernel
def scaled(v: float, decimals: int) -> int:
    """The multiple of 10^-decimals nearest to v, half to even, held within 2^53; NULL where v is not finite."""
    s = NULL
    if v - v == 0.0:
        s = _whole(min(max(np.rint(v * _POW10[decimals]), -_EXACT), _EXACT))
    return s


@inline_kernel
def microseconds(t: float) -> int:
    """Seconds since 1970 as whole microseconds."""
    return _whole(np.rint(t * 1e6))


@kernel
def _covariance(s: Row, scaled_row: NDArray[np.int64], decimals_row: NDArray[np.uint8]) -> None:
    """The ten covariances of a state row, each to seven significant digits of the product of its two sigmas.

    Correlations are then good to 1e-6, which keeps the matrix positive where its correlations have eigenvalues above
    2e-6, and what is noise beside the sigmas is 0.
    """
    values = (s.ee, s.en, s.ea, s.eb, s.nn, s.na, s.nb, s.aa, s.ab, s.bb)
    variances = (s.ee, s.nn, s.aa, s.bb)
    k = 0
    for i in range(4):
        for j in range(i, 4):
            size = 10.0 * math.sqrt(variances[i] * variances[j])
            d = 1
            while size < _COV_LEAST and d < _COV_MOST_DECIMALS:
                size *= 10.0
                d += 1
            decimals_row[COV + k] = d
            scaled_row[COV + k] = scaled(values[k], d)
            k += 1


@kernel
def _derive(
    rows: NDArray[np.void],
    number: NDArray[np.int64],
    decimals: NDArray[np.uint8],
    seen_us: NDArray[np.int64],
    h3: NDArray[np.uint64],
) -> None:
    digits = np.zeros(16, np.int64)
    for i in range(len(rows)):
        s, altitude, belief = rows[i].state, rows[i].altitude, rows[i].belief
        q = number[i]
        decimals[i, :] = DECIMALS
        q[LAT] = scaled(math.atan2(s.z, math.sqrt(s.x * s.x + s.y * s.y)) * _DEG, DECIMALS[LAT])
        q[LON] = scaled(math.atan2(s.y, s.x) * _DEG, DECIMALS[LON])
        if q[LON] == -1_800_000_000:
            q[LON] = 1_800_000_000
        lat, lon = q[LAT] * (1e-7 * _RAD), q[LON] * (1e-7 * _RAD)
        c = math.cos(lat)
        h3[i] = nvec_to_cell(c * math.cos(lon), c * math.sin(lon), math.sin(lat), H3_RESOLUTION, digits)

        q[ALT], q[ALT_SIGMA], q[V_UP] = NULL, NULL, NULL
        if altitude.hh > 0.0:
            q[ALT] = scaled(altitude.h, DECIMALS[ALT])
            q[ALT_SIGMA] = max(scaled(math.sqrt(altitude.hh), DECIMALS[ALT_SIGMA]), 1)
            if 0.0 < altitude.ww <= _CLIMB_VAR_MAX:
                q[V_UP] = scaled(altitude.w, DECIMALS[V_UP])

        q[SPEED] = scaled(math.sqrt(s.a * s.a + s.b * s.b), DECIMALS[SPEED])
        course = math.atan2(s.a, s.b) * _DEG
        q[COURSE] = scaled(course + 360.0 if course < 0.0 else course, DECIMALS[COURSE])
        if q[COURSE] == 36_000:
            q[COURSE] = 0
        q[V_EAST], q[V_NORTH] = scaled(s.a, DECIMALS[V_EAST]), scaled(s.b, DECIMALS[V_NORTH])

        _covariance(s, q, decimals[i])
        middle, half = 0.5 * (s.ee + s.nn), math.sqrt(0.25 * (s.ee - s.nn) ** 2 + s.en * s.en)
        major, minor = math.sqrt(middle + half), math.sqrt(max(middle - half, 0.0))
        q[MAJOR] = max(scaled(ELLIPSE95_SIGMAS * major, DECIMALS[MAJOR]), 1)
        q[MINOR] = max(scaled(ELLIPSE95_SIGMAS * minor, DECIMALS[MINOR]), 1)
        axis = 0.5 * math.atan2(2.0 * s.en, s.nn - s.ee) * _DEG
        q[ORIENTATION] = scaled(axis + 180.0 if axis < 0.0 else axis, DECIMALS[ORIENTATION])
        if q[ORIENTATION] == 1_800:
            q[ORIENTATION] = 0

        q[EXISTENCE] = scaled(belief.r, DECIMALS[EXISTENCE])
        q[LENGTH] = scaled(np.float64(belief.length_m), DECIMALS[LENGTH])
        q[WIDTH] = scaled(np.float64(belief.width_m), DECIMALS[WIDTH])
        seen_us[i] = microseconds(belief.seen)


def derive(rows: NDArray[np.void]) -> Numbers:
    """What update rows (dtype UPDATE) publish in numbers.

    Geodetic latitude and longitude in (-180, 180] of the n-vector; speed; course in [0, 360); the ellipse that holds
    the object with probability 0.95 (its axes at least 0.1 m), its orientation in [0, 180); the H3 cell of the rounded
    position, so that it is the cell of what a reader reads. Altitude is unknown without a variance, climb without one
    in (0, 1e6].
    """
    n = len(rows)
    numbers = Numbers(
        np.empty((n, COLUMNS), np.int64),
        np.empty((n, COLUMNS), np.uint8),
        np.empty(n, np.int64),
        np.empty(n, np.uint64),
    )
    _derive(rows, *numbers)
    return numbers


def utc(us: int) -> datetime:
    """The time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


@dataclass(frozen=True, eq=False)
class UpdateBatch(Sequence[TrackUpdate]):
    """Track updates in the order of their publication; an item is built when it is asked for.

    The arrays are contiguous and must not change any more.
    """

    #: (n,) of dtype UPDATE.
    rows: NDArray[np.void]
    #: (m,) of dtype EVIDENCE; its detections are those of `batch`, of the look of the row.
    evidence: NDArray[np.void]
    #: (k,) of dtype CONTRIBUTOR.
    contributors: NDArray[np.void]
    #: (n, 16): the UUID of each row's track.
    track_ids: NDArray[np.uint8]
    batch: LookBatch
    attributes: Attributes
    register: Register

    @cached_property
    def numbers(self) -> Numbers:
        """See `derive`."""
        return derive(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> TrackUpdate: ...

    @overload
    def __getitem__(self, index: slice) -> UpdateBatch: ...

    def __getitem__(self, index: int | slice) -> TrackUpdate | UpdateBatch:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"update {index} of {len(self)}")
        return self._update(index % len(self))

    def select(self, which: NDArray[Any]) -> UpdateBatch:
        """The updates of a mask (n,) of booleans, or of row numbers, in their order; the rest is shared."""
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which
        rows = self.rows
        # Rows as bytes: indexing a structured array copies field by field.
        taken = np.take(rows.view(np.uint8).reshape(len(rows), rows.itemsize), index, axis=0)
        return UpdateBatch(
            taken.reshape(-1).view(rows.dtype),
            self.evidence,
            self.contributors,
            np.take(self.track_ids, index, axis=0),
            self.batch,
            self.attributes,
            self.register,
        )

    @staticmethod
    def concat(batches: Sequence[UpdateBatch]) -> UpdateBatch:
        """One batch of all updates. The batches are of one engine (its attributes and register).

        Raises
        ------
        ValueError
            Without a batch, or with batches of several engines.
        """
        if not batches:
            raise ValueError("no updates to join")
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        if any(b.attributes is not first.attributes or b.register is not first.register for b in batches):
            raise ValueError("updates of several engines cannot be joined")
        looks = list({id(b.batch): b.batch for b in batches}.values())
        look_at, detection_at = _starts(len(x) for x in looks), _starts(len(x.detections) for x in looks)
        place = {id(x): k for k, x in enumerate(looks)}
        rows = np.concatenate([b.rows for b in batches])
        evidence = np.concatenate([b.evidence for b in batches])
        row_at = _starts(len(b) for b in batches)
        evidence_at = _starts(len(b.evidence) for b in batches)
        contributor_at = _starts(len(b.contributors) for b in batches)
        for k, b in enumerate(batches):
            own = rows[row_at[k] : row_at[k + 1]]
            own["look"][own["look"] >= 0] += look_at[place[id(b.batch)]]
            own["evidence"] += evidence_at[k]
            own["contributors"] += contributor_at[k]
            evidence["detection"][evidence_at[k] : evidence_at[k + 1]] += detection_at[place[id(b.batch)]]
        return UpdateBatch(
            rows,
            evidence,
            np.concatenate([b.contributors for b in batches]),
            np.concatenate([b.track_ids for b in batches]),
            looks[0] if len(looks) == 1 else LookBatch.concat(looks),
            first.attributes,
            first.register,
        )

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return self.numbers.values()

    def _update(self, i: int) -> TrackUpdate:
        row = self.rows[i]
        belief = row["belief"]
        x = self._values[i].tolist()
        known = [None if math.isnan(v) else v for v in x]
        attributes = int(belief["attributes"])
        datum = DATUM_NAMES[belief["datum"]] if known[ALT] is not None else None
        fields = {
            "track_id": str(UUID(bytes=self.track_ids[i].tobytes())),
            "seq": int(row["seq"]),
            "status": STATUS_NAMES[row["status"]],
            "end_reason": REASON_NAMES[row["reason"]],
            "revised_from": None if row["revised_us"] < 0 else utc(int(row["revised_us"])),
            "time": utc(int(row["time_us"])),
            "time_last_detection": utc(int(self.numbers.seen_us[i])),
            "domain": DOMAIN_NAMES[belief["domain"]],
            "lat": x[LAT],
            "lon": x[LON],
            "alt_m": known[ALT],
            "alt_sigma_m": known[ALT_SIGMA],
            "alt_datum": datum,
            "speed_mps": x[SPEED],
            "course_deg": x[COURSE],
            "v_enu_mps": (x[V_EAST], x[V_NORTH], known[V_UP]),
            "cov_enu": tuple(x[COV : COV + 10]),
            "ellipse95": TrackEllipse(x[MAJOR], x[MINOR], x[ORIENTATION]),
            "existence_prob": x[EXISTENCE],
            "ids": _IDS.decode(self.attributes.ids_json.get(attributes)),
            "class_probs": _CLASSES.decode(self.attributes.class_json.get(attributes)),
            "length_m": known[LENGTH],
            "width_m": known[WIDTH],
            "n_detections": int(row["detections"]),
            "contributors": self._contributors(int(row["contributors"]), int(row["contributors_n"])),
            "evidence": self._evidence(int(row["look"]), int(row["evidence"]), int(row["evidence_n"])),
            "h3": f"{self.numbers.h3[i]:015x}",
            "flags": flag_names(int(row["flags"])),
            "marking": _MARKING.decode(self.register.markings.get(int(row["sources"]))),
        }
        return TrackUpdate(**cast(Any, fields))

    def _contributors(self, first: int, count: int) -> tuple[Contributor, ...]:
        rows = self.contributors[first : first + count]
        contributors = []
        for source, n, last in zip(rows["source"].tolist(), rows["n"].tolist(), rows["last"].tolist(), strict=True):
            head = _HEAD.decode(self.register.heads.get(source) + b"0}")
            time = utc(microseconds(last))
            contributors.append(Contributor(head["source_id"], head["nation"], head["modality"], n, time))
        return tuple(contributors)

    def _evidence(self, look: int, first: int, count: int) -> tuple[Evidence, ...]:
        if look < 0:
            return ()
        rows = self.evidence[first : first + count]
        look_id = self.batch.look_id(look)
        return tuple(
            Evidence(look_id, self.batch.detection_id(j), scaled(weight, WEIGHT_DECIMALS) / 10**WEIGHT_DECIMALS)
            for j, weight in zip(rows["detection"].tolist(), rows["weight"].tolist(), strict=True)
        )


def flag_names(flags: int) -> tuple[str, ...]:
    """The names of the bits of an update's flags."""
    return tuple(name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1)


def _starts(sizes: Any) -> list[int]:
    return np.cumsum([0, *sizes]).tolist()

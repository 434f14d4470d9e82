"""Looks for tests: plain ones, and any that the model allows, good or bad."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import strategies as st

from apss_fusion.model import Detection, Ellipse, Look, Source
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.register import Register

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SQUARE = {"type": "Polygon", "coordinates": [[[0, 50], [1, 50], [1, 51], [0, 51], [0, 50]]]}
OTHER = {"type": "Polygon", "coordinates": [[[5.0, 50.0], [6.0, 50.0], [6.0, 51.0], [5.0, 50.0]]]}
SOURCES = {
    "ais": Source(modality="AIS", domains=("SEA",)),
    "adsb": Source(modality="ADSB", domains=("AIR",)),
    "sar": Source(modality="SAR", domains=("SEA", "GROUND"), p_detect=0.7, clutter_per_km2=0.02),
    "rf": Source(modality="RF", may_initiate=False),
}


def encoder() -> Encoder:
    """A new one with `SOURCES`."""
    return Encoder(Register(SOURCES), Attributes())


def detection(**fields: Any) -> Detection:
    """A detection, with an id and a place where none are given."""
    values: dict[str, Any] = {"detection_id": "d", "lat": 50.5, "lon": 0.5} | fields
    return Detection(**values)


def look(*detections: Detection, **fields: Any) -> Look:
    """A look of the source ``sar``, where nothing else is given."""
    values: dict[str, Any] = {"look_id": "l", "source_id": "sar", "time": T0} | fields
    return Look(**values, detections=detections)


def same(a: LookBatch, b: LookBatch) -> bool:
    """Whether two batches are the same, byte for byte."""
    return (
        a.looks.tobytes() == b.looks.tobytes()
        and a.detections.tobytes() == b.detections.tobytes()
        and a.text.tobytes() == b.text.tobytes()
        and [id(f) for f in a.footprints] == [id(f) for f in b.footprints]
        and a.rejected == b.rejected
        and a.given == b.given
    )


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
NAMES = st.sampled_from(["a", "b", "c", "ß", "船"]) | TEXTS
ZONES = st.sampled_from([UTC, UTC, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=11))])
TIMES = st.builds(
    lambda s, us, zone: (T0 + timedelta(seconds=s, microseconds=us)).astimezone(zone),
    st.integers(-3600, 3600),
    st.sampled_from([0, 0, 1, 500_000, 999_999]),
    ZONES,
)
FAR_TIMES = st.sampled_from([datetime(1969, 12, 31, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC)])
SMALL = st.floats(0.01, 1000.0)


def rarely_bad(good: st.SearchStrategy[Any], *bad: Any) -> st.SearchStrategy[Any]:
    """Mostly unknown or good values, now and then a bad one."""
    return st.one_of(st.none(), st.none(), good, good, st.sampled_from([None, *bad]))


def detections(bad: bool = True) -> st.SearchStrategy[Detection]:
    """Detections; with `bad`, some of them with values that cannot be used."""

    def values(good: st.SearchStrategy[Any], *wrong: Any) -> st.SearchStrategy[Any]:
        return rarely_bad(good, *(wrong if bad else ()))

    ellipses = st.builds(
        lambda a, b, turn, p: Ellipse(max(a, b), min(a, b), turn, p),
        SMALL,
        SMALL,
        st.floats(-360, 360),
        st.sampled_from([0.95, 0.3935]),
    )
    covariances = st.builds(lambda a, b, r: (a, r * math.sqrt(a * b), b), SMALL, SMALL, st.floats(-0.99, 0.99))
    return st.builds(
        Detection,
        detection_id=NAMES if bad else st.uuids().map(str),
        lat=st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, -0.0, *([math.nan, 91.0] if bad else [])]),
        lon=st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, *([math.inf] if bad else [])]),
        time=values(TIMES, datetime(2027, 1, 1, tzinfo=UTC)),
        ellipse=values(ellipses, Ellipse(10.0, 20.0, 0.0), Ellipse(1e9, 1.0, 0.0), Ellipse(1.0, 1.0, 0.0, 1.0)),
        cov_enu_m2=values(covariances, (0.0, 0.0, 0.0), (1.0, 2.0, 1.0), (-4.0, 0.0, 4.0), (math.inf, 0.0, 1.0)),
        alt_m=values(st.floats(-400, 20_000), math.inf),
        alt_datum=st.sampled_from([None, "HAE", "MSL", "BARO", "AGL"]),
        alt_sigma_m=values(SMALL, 0.0, -1.0),
        speed_mps=values(st.floats(0, 300), -1.0, 1e6),
        course_deg=values(st.floats(-360, 720), math.inf),
        speed_sigma_mps=values(SMALL, 0.0),
        course_sigma_deg=values(SMALL, -3.0),
        heading_deg=values(st.floats(0, 360), -math.inf),
        vertical_rate_mps=values(st.floats(-50, 50), math.inf),
        range_rate_mps=values(st.floats(-50, 50), math.inf),
        range_rate_sigma_mps=values(SMALL, 0.0),
        los_az_deg=values(st.floats(-360, 360), math.inf),
        los_el_deg=values(st.floats(-90, 90), 91.0),
        domain=st.sampled_from(["UNKNOWN", "UNKNOWN", "SEA", "GROUND", "AIR"]),
        ids=st.none() | st.dictionaries(st.sampled_from(["mmsi", "imo", "name"]) | TEXTS, TEXTS, max_size=3),
        class_probs=st.none() | st.dictionaries(st.sampled_from(["cargo", "tug"]), st.floats(0, 1), max_size=2),
        length_m=values(SMALL, 0.0),
        width_m=values(SMALL, -1.0),
        detection_prob=values(st.floats(0, 1), 1.5),
    )


def looks(bad: bool = True) -> st.SearchStrategy[Look]:
    """Looks of known and unknown sources; with `bad`, some that cannot be used."""

    def values(good: st.SearchStrategy[Any], *wrong: Any) -> st.SearchStrategy[Any]:
        return rarely_bad(good, *(wrong if bad else ()))

    return st.builds(
        lambda end_s, **fields: Look(
            **fields, time_end=None if end_s is None else fields["time"] + timedelta(seconds=end_s)
        ),
        look_id=NAMES if bad else st.uuids().map(str),
        source_id=st.sampled_from(["ais", "ais/7", "adsb", "sar", "rf", "new"]),
        time=(TIMES | FAR_TIMES) if bad else TIMES,
        end_s=values(st.integers(0, 100), -1),
        time_received=values(TIMES, datetime(1960, 1, 1, tzinfo=UTC)),
        footprint=values(st.sampled_from([SQUARE, OTHER]), {"type": "Point", "coordinates": [0, 0]}, {}),
        p_detect=values(st.floats(0, 1), -0.1, 1.1),
        clutter_per_km2=values(SMALL, -1.0, math.inf),
        min_detectable_speed_mps=values(SMALL, -1.0),
        detections=st.lists(detections(bad), max_size=4).map(tuple),
    )


def report(k: int) -> Look:
    """The k-th of a row of plain position reports of ships."""
    rng = np.random.default_rng(k)
    time = T0 + timedelta(seconds=k, milliseconds=k % 7)
    seen = detection(
        detection_id=f"r{k}-0",
        lat=round(float(rng.uniform(-60, 60)), 6),
        lon=round(float(rng.uniform(-180, 180)), 6),
        speed_mps=round(float(rng.uniform(0, 12)), 2),
        course_deg=round(float(rng.uniform(0, 360)), 1),
        domain="SEA",
        ids={"mmsi": f"{200_000_000 + k % 50}"},
    )
    return look(seen, look_id=f"r{k}", source_id="ais", time=time, time_received=time + timedelta(seconds=1))

"""Random update batches, and one written by hand, for the tests of what leaves the engine."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta

import h3
import msgspec
import numpy as np

from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.model import Source
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import CONTRIBUTOR, DETECTION, EVIDENCE, LOOK, UPDATE
from apss_fusion.tracking.updates import UpdateBatch

#: Ids as a feed may have them: quotes, backslashes, control characters, other scripts, none of one byte, nothing.
WEIRD = (
    'a"b',
    "back\\slash",
    "\x00\x01\x1f\x7f",
    "tab\tline\nreturn\r\b\f",
    "Ærøskøbing",
    "船舶-7",
    "🚢",
    "",
    "</x>",
    "\u2028",
    "{",
)

SOURCES = {
    "ais": Source(modality="AIS", nation="NOR", releasable_to=("LUX", "USA"), caveats=("EXERCISE",)),
    'sar "x"\\\n': Source(modality="SAR", nation=None, classification="SECRET", releasable_to=("USA",)),
    "adsb": Source(modality="ADSB", releasable_to=("LUX",), caveats=("A", 'B"')),
}


def texts(rng: np.random.Generator, n: int) -> list[str]:
    """N ids, a third of them odd."""
    odd = rng.integers(0, 3 * len(WEIRD), n)
    return [(WEIRD[k] if k < len(WEIRD) else "") + f"id-{i:08x}" * int(k % 4 > 0) for i, k in enumerate(odd)]


def look_batch(look_ids: list[str], detection_ids: list[str]) -> LookBatch:
    """A batch that has ids only."""
    looks, detections = np.zeros(len(look_ids), LOOK), np.zeros(len(detection_ids), DETECTION)
    looks["footprint"] = -1
    coded = [t.encode() for t in look_ids + detection_ids]
    at = np.cumsum([0] + [len(t) for t in coded])
    for array, first in ((looks, 0), (detections, len(looks))):
        array["id_at"] = at[first : first + len(array)]
        array["id_length"] = np.diff(at)[first : first + len(array)]
    return LookBatch(looks, detections, np.frombuffer(b"".join(coded), np.uint8).copy(), [], [])


def engine_tables(rng: np.random.Generator, n: int = 40) -> tuple[Attributes, Register]:
    """Attributes with n numbers or so, and a register with some sets of sources."""
    attributes, register = Attributes(), Register(SOURCES)
    for k in range(n):
        ids = {"mmsi": str(200_000_000 + k), **{f"k{w}": w for w in WEIRD if rng.random() < 0.2}}
        classes = {"cargo": round(rng.random(), 3), 'fi"sh': 0.5, "tiny": 1e-7, "all": 1.0}
        attributes.number(ids if rng.random() < 0.7 else None, classes if rng.random() < 0.5 else None)
    for name in (*SOURCES, "unregistered"):
        register.number(name)
    for members in ([], ["ais"], ["ais", "adsb"], list(SOURCES), ["unregistered", "ais"]):
        register.set_number(members)
    return attributes, register


def random_updates(
    seed: int, n: int, tables: tuple[Attributes, Register] | None = None, batch: LookBatch | None = None
) -> UpdateBatch:
    """N random updates over the whole range that rows may have, poles, antimeridian and years 1970 to 2241 among it."""
    rng = np.random.default_rng(seed)
    attributes, register = tables or engine_tables(rng)
    batch = batch or look_batch(texts(rng, n // 3 + 1), texts(rng, n + 5))
    rows = np.zeros(n, UPDATE)
    lat = np.where(rng.random(n) < 0.1, rng.choice([-90.0, 90.0, 0.0, 89.99999999], n), rng.uniform(-90, 90, n))
    lon = np.where(rng.random(n) < 0.1, rng.choice([-180.0, 180.0, 0.0, -179.99999999], n), rng.uniform(-180, 180, n))
    state = rows["state"]
    for k, name in enumerate("xyz"):
        state[name] = nvectors(lat, lon)[:, k]
    speed = np.where(rng.random(n) < 0.1, 0.0, 10.0 ** rng.uniform(-4, 3, n))
    course = np.where(rng.random(n) < 0.1, rng.choice([0.0, 90.0, 180.0, 359.999], n), rng.uniform(0, 360, n))
    state["a"], state["b"] = speed * np.sin(np.radians(course)), speed * np.cos(np.radians(course))
    sigma = 10.0 ** rng.uniform(-2, 1, (n, 1)) * np.array([100.0, 100.0, 1.0, 1.0])
    factor = rng.normal(size=(n, 4, 4)) * sigma[:, :, None]
    cov = factor @ factor.transpose(0, 2, 1)
    cov[rng.random(n) < 0.05] = np.diag([900.0, 900.0, 1.0, 1.0])
    for i, p in enumerate("enab"):
        for j, q in enumerate("enab"):
            if j >= i:
                state[p + q] = cov[:, i, j]
    altitude = rows["altitude"]
    altitude["h"], altitude["w"] = rng.uniform(-400, 15000, n), rng.normal(size=n) * 10
    altitude["hh"] = np.where(rng.random(n) < 0.5, 0.0, 10.0 ** rng.uniform(-4, 5, n))
    altitude["ww"] = rng.choice([0.0, -1.0, 0.25, 1e6, 1e7, 1e9], n)
    belief = rows["belief"]
    belief["r"] = rng.choice([0.0, 1.0, 0.5, 0.9999999, 1e-9, 0.123456789], n)
    rows["time_us"] = rng.integers(0, 8_835_000_000_000_000, n)
    belief["seen"] = rng.integers(0, 2**33 * 1_000_000, n) / 1e6
    belief["attributes"] = rng.integers(0, len(attributes), n)
    belief["length_m"] = np.where(rng.random(n) < 0.5, np.nan, rng.uniform(1, 400, n))
    belief["width_m"] = np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0, 60, n))
    belief["domain"], belief["datum"] = rng.integers(0, 4, n), rng.integers(0, 5, n)
    rows["revised_us"] = np.where(rng.random(n) < 0.7, -1, rng.integers(0, 2**52, n))
    rows["look"] = rng.integers(-1, len(batch), n)
    rows["evidence_n"] = rng.integers(0, 4, n)
    rows["evidence"] = np.cumsum(rows["evidence_n"]) - rows["evidence_n"]
    rows["contributors_n"] = rng.integers(1, 4, n)
    rows["contributors"] = np.cumsum(rows["contributors_n"]) - rows["contributors_n"]
    rows["seq"], rows["detections"] = rng.integers(1, 2**31 - 1, n), rng.integers(1, 2**31 - 1, n)
    rows["sources"] = rng.integers(0, 5, n)
    rows["status"], rows["reason"] = rng.integers(0, 4, n), rng.integers(0, 4, n)
    rows["flags"] = rng.integers(0, 4, n)
    evidence = np.zeros(rows["evidence_n"].sum(), EVIDENCE)
    evidence["weight"] = rng.choice([1.0, 0.5, 1e-9, 0.1234567], len(evidence)) * rng.uniform(0.5, 1.0, len(evidence))
    evidence["detection"] = rng.integers(0, len(batch.detections), len(evidence))
    contributors = np.zeros(rows["contributors_n"].sum(), CONTRIBUTOR)
    contributors["last"] = rng.integers(0, 2**33 * 1_000_000, len(contributors)) / 1e6
    contributors["source"] = rng.integers(0, len(register), len(contributors))
    contributors["n"] = rng.integers(1, 2**31 - 1, len(contributors))
    track_ids = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    return UpdateBatch(rows, evidence, contributors, track_ids, batch, attributes, register)


def expected(u: UpdateBatch, i: int) -> dict[str, object]:
    """Update i as `json.loads` should give it: written plainly, by the standard library and h3."""
    row = u.rows[i]
    s = {name: float(row["state"][name]) for name in row["state"].dtype.names}
    altitude, belief = row["altitude"], row["belief"]
    lat = rounded(math.degrees(math.atan2(s["z"], math.sqrt(s["x"] ** 2 + s["y"] ** 2))), 7)
    lon = rounded(math.degrees(math.atan2(s["y"], s["x"])), 7)
    lon = 180.0 if lon == -180.0 else lon
    known, climbs = altitude["hh"] > 0, altitude["hh"] > 0 and 0 < altitude["ww"] <= 1e6
    course = rounded(math.degrees(math.atan2(s["a"], s["b"])) % 360.0, 2)
    middle, half = (s["ee"] + s["nn"]) / 2, math.sqrt((s["ee"] - s["nn"]) ** 2 / 4 + s["en"] ** 2)
    axis = rounded(math.degrees(0.5 * math.atan2(2 * s["en"], s["nn"] - s["ee"])) % 180.0, 1)
    attributes = int(belief["attributes"])
    first, n = int(row["contributors"]), int(row["contributors_n"])
    first_evidence, n_evidence = int(row["evidence"]), int(row["evidence_n"])
    look = int(row["look"])
    return {
        "track_id": str(uuid.UUID(bytes=bytes(u.track_ids[i]))),
        "seq": int(row["seq"]),
        "status": ["TENTATIVE", "CONFIRMED", "COASTING", "TERMINATED"][row["status"]],
        "end_reason": [None, "LOST", "UNCERTAIN", "WITHDRAWN"][row["reason"]],
        "revised_from": None if row["revised_us"] == -1 else rfc3339(int(row["revised_us"])),
        "time": rfc3339(int(row["time_us"])),
        "time_last_detection": rfc3339(round(float(belief["seen"]) * 1e6)),
        "domain": ["SEA", "GROUND", "AIR", "UNKNOWN"][belief["domain"]],
        "lat": lat,
        "lon": lon,
        "alt_m": rounded(altitude["h"], 1) if known else None,
        "alt_sigma_m": max(0.1, rounded(math.sqrt(altitude["hh"]), 1)) if known else None,
        "alt_datum": [None, "HAE", "MSL", "BARO", "AGL"][belief["datum"]] if known else None,
        "speed_mps": rounded(math.sqrt(s["a"] ** 2 + s["b"] ** 2), 2),
        "course_deg": 0.0 if course == 360.0 else course,
        "v_enu_mps": [rounded(s["a"], 3), rounded(s["b"], 3), rounded(altitude["w"], 3) if climbs else None],
        "cov_enu": [
            rounded(s[p + q], covariance_decimals(s[p + p], s[q + q])) for k, p in enumerate("enab") for q in "enab"[k:]
        ],
        "ellipse95": {
            "semi_major_m": max(0.1, rounded(math.sqrt(-2 * math.log(0.05)) * math.sqrt(middle + half), 1)),
            "semi_minor_m": max(0.1, rounded(math.sqrt(-2 * math.log(0.05)) * math.sqrt(max(middle - half, 0)), 1)),
            "orientation_deg": 0.0 if axis == 180.0 else axis,
        },
        "existence_prob": rounded(belief["r"], 6),
        "ids": u.attributes.ids(attributes),
        "class_probs": u.attributes.classes(attributes),
        "length_m": None if math.isnan(belief["length_m"]) else rounded(belief["length_m"], 1),
        "width_m": None if math.isnan(belief["width_m"]) else rounded(belief["width_m"], 1),
        "n_detections": int(row["detections"]),
        "contributors": [
            {
                "source_id": u.register.names[c["source"]],
                "nation": u.register.source(int(c["source"])).nation,
                "modality": u.register.source(int(c["source"])).modality,
                "n": int(c["n"]),
                "last": rfc3339(round(float(c["last"]) * 1e6)),
            }
            for c in u.contributors[first : first + n]
        ],
        "evidence": [
            {
                "look_id": u.batch.look_id(look),
                "detection_id": u.batch.detection_id(int(e["detection"])),
                "weight": rounded(e["weight"], 6),
            }
            for e in u.evidence[first_evidence : first_evidence + n_evidence]
            if look >= 0
        ],
        "h3": h3.latlng_to_cell(lat, lon, 7),
        "flags": [name for bit, name in ((1, "id_conflict"), (2, "pending")) if row["flags"] & bit],
        "marking": msgspec.json.decode(msgspec.json.encode(u.register.marking(int(row["sources"])))),
    }


def rounded(v: float, decimals: int) -> float:
    """V to so many decimals, half to even, without a negative zero."""
    return round(float(v) * 10**decimals) / 10**decimals


def covariance_decimals(p: float, q: float) -> int:
    """Decimals that give the product of two sigmas seven significant digits, 1 to 12."""
    size = math.sqrt(p * q)
    return next((d for d in range(1, 12) if size * 10**d >= 1e6), 12)


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as text."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")

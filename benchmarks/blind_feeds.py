"""Recorded feeds for blind association: who was who is kept for the score, and taken from the looks.

A look keeps what a sensor without identities would have told: time, position, velocity, altitude, range rate and their
accuracies, footprint and detection probability. Identities, names, classes and sizes are gone, and looks and detections
have new ids, their numbers in the order of time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from apss_fusion.feeds.autoferry import LIDAR, local_to_geodetic
from apss_fusion.feeds.reading import read_looks
from apss_fusion.feeds.registry import decoders
from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M
from apss_fusion.model import Detection, Look, Source

#: An aircraft that is silent for longer has landed: what comes later is another flight.
FLIGHT_GAP_S = 3600.0
#: The nearest detection within this distance of a boat's GNSS position is the boat's: lidar, radar (see feeds/autoferry.py).
BOAT_WITHIN_M = {"lidar": 25.0, "radar": 60.0}

Whose = Callable[[Look, Detection], str | None]
Box = tuple[float, float, float, float]


class BlindFeed(NamedTuple):
    """Looks without identities, in the order of their times, and whose each detection was."""

    looks: list[Look]
    #: By detection_id; a detection that is nobody's (clutter) is not in it.
    objects: dict[str, str]


class Recording(NamedTuple):
    """A recorded feed as a row of the table: where its files are and how its detections are told apart."""

    title: str
    domain: str
    files: tuple[str, ...]
    read: Callable[[Sequence[Path]], BlindFeed]
    #: Whether all trackers can be run on it in minutes; else only those whose time does not grow with all tracks.
    short: bool = True


def blind(looks: Iterable[tuple[Look, Sequence[str | None]]]) -> BlindFeed:
    """Strip looks, each with the objects that its detections were of (None for nobody)."""
    out: list[Look] = []
    objects: dict[str, str] = {}
    for k, (look, owners) in enumerate(sorted(looks, key=lambda one: one[0].time)):
        detections = []
        for j, (detection, owner) in enumerate(zip(look.detections, owners, strict=True)):
            name = f"{k:07d}-{j:04d}"
            detections.append(
                replace(detection, detection_id=name, ids=None, class_probs=None, length_m=None, width_m=None)
            )
            if owner is not None:
                objects[name] = owner
        out.append(replace(look, look_id=f"{k:07d}", time_received=None, detections=tuple(detections)))
    return BlindFeed(out, objects)


def sources_of(looks: Iterable[Look]) -> dict[str, Source]:
    """The built-in sources of the looks, as `apss-fusion fuse` takes them without ``--sources``."""
    names = {look.source_id.partition("/")[0] for look in looks}
    return {decoder.name: decoder.source for decoder in decoders() if decoder.name in names}


def _by_identity(key: str, gap_s: float = math.inf, box: Box | None = None) -> Callable[[Sequence[Path]], BlindFeed]:
    """Read one file whose detections carry `key`; a silence longer than `gap_s` makes another object of it."""

    def read(paths: Sequence[Path]) -> BlindFeed:
        looks = [look for look in read_looks(paths[0]) if box is None or _inside(look, box)]
        looks.sort(key=lambda look: look.time)
        last: dict[str, tuple[float, int]] = {}
        tagged = []
        for look in looks:
            t = look.time.timestamp()
            owners: list[str | None] = []
            for detection in look.detections:
                identity = (detection.ids or {}).get(key)
                if identity is None:
                    owners.append(None)
                    continue
                seen, flight = last.get(identity, (t, 0))
                flight += t - seen > gap_s
                last[identity] = (t, flight)
                owners.append(f"{identity}/{flight}")
            tagged.append((look, owners))
        return blind(tagged)

    return read


def _inside(look: Look, box: Box) -> bool:
    south, north, west, east = box
    return all(south <= d.lat <= north and west <= d.lon <= east for d in look.detections)


def _gmti(paths: Sequence[Path]) -> BlindFeed:
    """Ground moving targets: their truth tags (D32.16, D32.17) are in the file, but no look carries them.

    A file with tags would be scored by them; the one that is recorded here has one target, which is one object.
    """
    looks = list(read_looks(paths[0]))
    if sum(len(look.detections) for look in looks) > 1:
        raise ValueError(f"{paths[0]}: more than one target, and the decoder keeps no truth tags to tell them apart")
    return blind((look, ["target"] * len(look.detections)) for look in looks)


class _Boat(msgspec.Struct, rename={"target": "targetID"}):
    target: int
    position: tuple[float, float, float]
    time: float


def _autoferry(paths: Sequence[Path]) -> BlindFeed:
    """Lidar and radar scans; a detection is of the boat whose GNSS position it is the nearest to, within the limit.

    paths: detections and ground truth in turn. Scenarios follow each other with a pause, each with boats of its own.
    """
    tagged: list[tuple[Look, list[str | None]]] = []
    for detections, truth in zip(paths[::2], paths[1::2], strict=True):
        scans = msgspec.json.decode(truth.read_bytes(), type=list[list[_Boat]])
        places = _places(scans)
        for look in read_looks(detections):
            near = places.at(look.time.timestamp())
            limit_m = BOAT_WITHIN_M[look.source_id.partition("/")[2] or LIDAR.name]
            owners: list[str | None] = [None] * len(look.detections)
            pairs = sorted(
                (distance_m, j, name)
                for j, d in enumerate(look.detections)
                for name, (lat, lon) in near.items()
                if (distance_m := _distance_m(d.lat, d.lon, lat, lon)) <= limit_m
            )
            taken: set[str] = set()
            for _, j, name in pairs:
                if owners[j] is None and name not in taken:
                    owners[j] = f"{detections.stem}/{name}"
                    taken.add(name)
            tagged.append((look, owners))
    return blind(tagged)


class _Places:
    """Where boats were: their positions over time, linear between them."""

    def __init__(self, tracks: dict[str, list[tuple[float, float, float]]]) -> None:
        self._tracks = {name: sorted(set(rows)) for name, rows in tracks.items()}

    def at(self, t: float) -> dict[str, tuple[float, float]]:
        """Latitude and longitude of each boat that is known within two seconds of a time."""
        out = {}
        for name, rows in self._tracks.items():
            later = next((k for k, row in enumerate(rows) if row[0] >= t), len(rows))
            a, b = rows[max(later - 1, 0)], rows[min(later, len(rows) - 1)]
            if min(abs(a[0] - t), abs(b[0] - t)) > 2.0:
                continue
            share = min(max((t - a[0]) / (b[0] - a[0]), 0.0), 1.0) if b[0] > a[0] else 0.0
            north, east = (a[k] + share * (b[k] - a[k]) for k in (1, 2))
            out[name] = local_to_geodetic(north, east)
        return out


def _places(scans: Iterable[Iterable[_Boat]]) -> _Places:
    tracks: dict[str, list[tuple[float, float, float]]] = {}
    for scan in scans:
        for boat in scan:
            tracks.setdefault(str(boat.target), []).append((boat.time, boat.position[0], boat.position[1]))
    return _Places(tracks)


def _distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    north = math.radians(other_lat - lat)
    east = math.radians(other_lon - lon) * math.cos(math.radians(lat))
    return MEAN_RADIUS_M * math.hypot(north, east)


def _scenario(number: int) -> tuple[str, str]:
    folder = f"autoferry/scenario{number}/scenario{number}"
    return f"{folder}_detections.json", f"{folder}_groundTruth.json"


_CADASTRE = ("ais/marinecadastre_2022-01-03_first99999.csv.gz",)
#: South, north, west, east of the excerpt: New York and New Jersey harbour.
HARBOUR: Box = (40.4, 40.9, -74.3, -73.7)

RECORDINGS = {
    "solent": Recording("Solent, AIS", "SEA", ("ais/solent_2016-01-12.csv",), _by_identity("mmsi")),
    "harbour": Recording("New York harbour, AIS", "SEA", _CADASTRE, _by_identity("mmsi", box=HARBOUR)),
    "cadastre": Recording("US waters, AIS", "SEA", _CADASTRE, _by_identity("mmsi"), short=False),
    "opensky": Recording(
        "United Kingdom, ADS-B",
        "AIR",
        ("adsb/opensky_state_vectors_uk_2021-07-12.csv",),
        _by_identity("icao24", FLIGHT_GAP_S),
    ),
    "traffic": Recording(
        "Fire fighting aircraft, ADS-B", "AIR", ("adsb/traffic_calfire.json.gz",), _by_identity("icao24", FLIGHT_GAP_S)
    ),
    "gmti": Recording("STANAG 4607, one target", "GROUND", ("gmti/list1.4607",), _gmti),
    "autoferry": Recording(
        "Autoferry, radar and lidar", "SEA", tuple(name for k in range(2, 7) for name in _scenario(k)), _autoferry
    ),
}

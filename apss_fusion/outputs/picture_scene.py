"""Tracks, truth and looks as they lie in the plane of a picture."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from apss_fusion.evaluation.records import TruthLine, read_lines
from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import geodetic, nvectors
from apss_fusion.model import Domain, Source, TrackEllipse, TrackStatus
from apss_fusion.model.look import Latitude, Longitude, UtcTime

FloatArray = NDArray[np.float64]

#: Domains from back to front.
DOMAINS: tuple[Domain, ...] = ("UNKNOWN", "GROUND", "AIR", "SEA")
_STRONG = timedelta(minutes=30)


class Update(Struct, frozen=True):
    """What a picture shows of a track update."""

    track_id: str
    status: TrackStatus
    time: UtcTime
    domain: Domain
    lat: Latitude
    lon: Longitude
    speed_mps: float
    course_deg: float
    ellipse95: TrackEllipse


class _Seen(Struct, frozen=True):
    lat: Latitude
    lon: Longitude


class _Look(Struct, frozen=True):
    source_id: str
    footprint: dict[str, Any] | None = None
    detections: tuple[_Seen, ...] = ()


class Window(Struct, frozen=True):
    """A square of the plane, in km."""

    x: float
    y: float
    half: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left and lower edge, width and height."""
        return self.x - self.half, self.y - self.half, 2 * self.half, 2 * self.half


class Scene:
    """Everything that is drawn, in the azimuthal equidistant plane about the middle of the tracks, in km."""

    def __init__(
        self, tracks_path: Path, looks_path: Path | None, truth_path: Path | None, sources: Mapping[str, Source]
    ) -> None:
        tails: dict[str, list[tuple[float, float]]] = {}
        when: dict[str, list[datetime]] = {}
        self.last: dict[str, Update] = {}
        self.times: list[datetime] = []
        for update in sorted(read_lines(tracks_path, Update), key=lambda update: update.time):
            tails.setdefault(update.track_id, []).append((update.lat, update.lon))
            when.setdefault(update.track_id, []).append(update.time)
            self.last[update.track_id] = update
            self.times = [self.times[0] if self.times else update.time, update.time]
        truth: dict[str, list[tuple[float, float]]] = {}
        for line in read_lines(truth_path, TruthLine) if truth_path is not None else ():
            for item in line.objects:
                truth.setdefault(item.id, []).append((item.lat, item.lon))
        detections, footprints, self.looks = _looks(looks_path, sources)
        self.seen = Counter({kind: len(places) for kind, places in detections.items()})
        everything = [*tails.values()] or [*truth.values()] or [places for places in detections.values() if places]
        degrees = np.array([place for line in everything for place in line] or [(0.0, 0.0)])
        normals = nvectors(*degrees.T)
        mean = normals.mean(axis=0)
        length = float(np.linalg.norm(mean))
        self.centre = mean / length if length > 1e-6 else normals[0]
        plane = self.plane(degrees)
        low, high = plane.min(axis=0), plane.max(axis=0)
        middle = (low + high) / 2.0
        self.window = Window(float(middle[0]), float(middle[1]), 0.53 * max(float((high - low).max()), 2.0))
        self.tails = {name: self.plane(np.array(places)) for name, places in tails.items()}
        #: When the strong part of tails begins, and where in each: at its last two points at the latest.
        self.strong_from = self.times[-1] - _STRONG if self.times else datetime.max.replace(tzinfo=UTC)
        self.recent = {
            name: min(bisect_left(times, self.strong_from), max(len(times) - 2, 0)) for name, times in when.items()
        }
        self.truth = [self.plane(np.array(places)) for places in truth.values()]
        self.detections = {kind: self.plane(np.array(places)) for kind, places in detections.items() if places}
        self.footprints = {
            kind: [self.plane(np.array(ring)[:, 1::-1]) for ring in rings] for kind, rings in footprints.items()
        }
        self.outlines = {
            kind: [self.plane(line[:, ::-1]) for ring in rings for line in _true_edges(np.array(ring)[:, :2])]
            for kind, rings in footprints.items()
        }

    def span(self) -> str:
        """The time that the tracks cover."""
        if not self.times:
            return "no tracks"
        first, last = self.times
        end = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
        return f"{first:%Y-%m-%d %H:%M:%S} to {end} UTC"

    def live(self, domain: Domain) -> list[Update]:
        """The last updates of a domain's tracks that have not ended."""
        return [u for u in self.last.values() if u.domain == domain and u.status != "TERMINATED"]

    def ended(self, domain: Domain) -> int:
        """How many tracks of a domain have ended."""
        return sum(u.domain == domain and u.status == "TERMINATED" for u in self.last.values())

    def enlarged(self) -> tuple[Domain, Window] | None:
        """The domain whose tracks fill the smallest part of the map, if that is small."""
        found: list[tuple[float, Domain, Window]] = []
        for domain in DOMAINS:
            if len(self.live(domain)) < 3:
                continue
            points = np.concatenate([self.tails[u.track_id] for u in self.live(domain)])
            low, high = np.percentile(points, [2.0, 98.0], axis=0)
            half = 0.6 * max(float((high - low).max()), 1.0)
            middle = (low + high) / 2.0
            found.append((half, domain, Window(float(middle[0]), float(middle[1]), half)))
        if not found or min(found)[0] > self.window.half / 4.0:
            return None
        _, domain, window = min(found)
        return domain, window

    def plane(self, degrees: FloatArray) -> FloatArray:
        """Plane coordinates (m, 2) of latitude and longitude (m, 2)."""
        return self._of(nvectors(*degrees.T))

    def degrees(self, plane: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latitude and longitude (m,) of plane coordinates (m, 2)."""
        return geodetic(moves(np.tile(self.centre, (len(plane), 1)), plane * 1000.0))

    def _of(self, normals: FloatArray) -> FloatArray:
        return np.asarray(offsets(np.tile(self.centre, (len(normals), 1)), normals) / 1000.0)

    def ahead(self, updates: list[Update], azimuth_deg: list[float], metres: list[float]) -> FloatArray:
        """Plane coordinates (m, 2) of the points that far from tracks in a direction."""
        start = nvectors([u.lat for u in updates], [u.lon for u in updates])
        angle = np.radians(np.array(azimuth_deg))
        way = np.array(metres)[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
        return self._of(moves(start, way))

    def ellipses(self, live: list[Update], ends: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Widths and heights in km and angles in degrees of 95 % ellipses in the plane."""
        turned = [u.ellipse95.orientation_deg for u in live]
        major = self.ahead(live, turned, [u.ellipse95.semi_major_m for u in live]) - ends
        minor = self.ahead(live, [a + 90.0 for a in turned], [u.ellipse95.semi_minor_m for u in live]) - ends
        angle = np.degrees(np.arctan2(major[:, 1], major[:, 0]))
        return 2.0 * np.hypot(*major.T), 2.0 * np.hypot(*minor.T), angle


def _true_edges(ring: FloatArray) -> list[FloatArray]:
    """Lines of a ring (k, 2) of longitude and latitude without the edges along which it was cut at the antimeridian."""
    at_cut = np.abs(ring[:, 0]) == 180.0
    pieces = np.split(ring, np.flatnonzero(at_cut[:-1] & at_cut[1:]) + 1)
    return [piece for piece in pieces if len(piece) > 1]


def _looks(
    path: Path | None, sources: Mapping[str, Source]
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[list[list[float]]]], Counter[str]]:
    """Places of detections, rings of different footprints, and the number of looks, by kind of look."""
    detections: dict[str, list[tuple[float, float]]] = {}
    rings: dict[str, dict[bytes, list[list[float]]]] = {}
    count: Counter[str] = Counter()
    for look in read_lines(path, _Look) if path is not None else ():
        source = sources.get(look.source_id)
        kind = source.modality if source else "own reports" if look.footprint is None else "detections"
        count[kind] += 1
        detections.setdefault(kind, []).extend((seen.lat, seen.lon) for seen in look.detections)
        if look.footprint is not None:
            coordinates = look.footprint.get("coordinates") or []
            for polygon in [coordinates] if look.footprint.get("type") == "Polygon" else coordinates:
                rings.setdefault(kind, {})[msgspec.json.encode(polygon[0])] = polygon[0]
    return detections, {kind: list(found.values()) for kind, found in rings.items()}, count

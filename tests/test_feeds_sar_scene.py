"""A scene of three vessels in the forms in which KSAT delivers one, written by the tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from apss_fusion.feeds.base import Decoder
from apss_fusion.feeds.ksat_csv import KsatCsv
from apss_fusion.feeds.ksat_geojson import KsatGeoJson
from apss_fusion.feeds.ksat_kml import KsatKml

START, STOP = "2024-02-29T23:59:30.250000Z", "2024-03-01T00:00:44.250000Z"
MIDDLE = datetime(2024, 3, 1, 0, 0, 7, 250000, tzinfo=UTC)
PRODUCT = "RS2_20240229_235930_0074_DVWF_HH_SCS_1"
FRAME = [[10.0, 50.0], [10.0, 55.0], [16.5, 55.25], [16.5, 50.0], [10.0, 50.0]]
VESSELS = [
    # id, lon, lat, probability, length, beam, heading, type
    ("a40733c2-0001", 12.345678, 54.321098, "100.00", "208.98", "29.41", "185.45", "VESSEL"),
    ("a40733c2-0002", 10.5, 50.25, "75.00", "65.61", "10.59", "007.26", "VESSEL"),
    ("a40733c2-0003", 16.0, 55.0, "20.00", "0.00", "", "331.00", "OIL PLATFORM"),
]
VENDOR_HEADER = (
    "X,Y,Name,description,Probability,DetectionId,ProductStartTime,ProductStopTime,Polarization,Beam,Length,Property,"
    "Type,Heading,ProductId"
)
MERGED_HEADER = (
    ",lon,lat,Name,Probability,DetectionId,ProductStartTime,ProductStopTime,Polarization,Beam,Length,Type,Heading,"
    "scene_id,footprint"
)


def vendor_csv(vessels: list[tuple[Any, ...]] = VESSELS, end: str = "\n") -> str:
    rows = [
        f"{lon},{lat},FID: {n},,{prob},{uid},{START},{STOP},HH,{beam},{length}, Value ,{kind},{heading},{PRODUCT}"
        for n, (uid, lon, lat, prob, length, beam, heading, kind) in enumerate(vessels)
    ]
    return end.join([VENDOR_HEADER, *rows, ""])


def merged_csv(vessels: list[tuple[Any, ...]] = VESSELS) -> str:
    wkt = "POLYGON ((" + ", ".join(f"{lon} {lat}" for lon, lat in FRAME) + "))"
    start, stop = (t.replace("T", " ").replace("Z", "+00:00") for t in (START, STOP))
    rows = [
        f'{n},{lon},{lat},FID: {n},{prob},{uid},{start},{stop},HH,{beam},{length},{kind},{heading},{PRODUCT},"{wkt}"'
        for n, (uid, lon, lat, prob, length, beam, heading, kind) in enumerate(vessels)
    ]
    return "\n".join([MERGED_HEADER, *rows, ""])


def table(pairs: dict[str, str]) -> str:
    rows = "".join(f"  <tr>\n    <td>{k}</td>\n    <td>{v}</td>\n  </tr>\n" for k, v in pairs.items())
    return f'<table border="2">\n  <tr>\n    <td>\n      <b>Property</b>\n    </td>\n  </tr>\n{rows}</table>'


def vessel_table(vessel: tuple[Any, ...]) -> str:
    uid, _, _, prob, length, beam, heading, kind = vessel
    return table(
        {
            "DetectionId": uid,
            "Type": kind,
            "Length": length,
            "Beam": beam,
            "Heading": heading,
            "Probability": prob,
            "ProductId": PRODUCT,
            "ProductStartTime": START,
            "ProductStopTime": STOP,
        }
    )


FRAME_TABLE = table(
    {"ProductId": "17d3b74a", "Satellite": "RADARSAT-2", "Name": PRODUCT, "StartTime": START, "StopTime": STOP}
)


def geojson_features(vessels: list[tuple[Any, ...]] = VESSELS) -> list[dict[str, Any]]:
    points = [
        {
            "type": "Feature",
            "properties": {"name": "FID", "description": vessel_table(vessel)},
            "geometry": {"type": "Point", "coordinates": [vessel[1], vessel[2], 0.0]},
        }
        for vessel in vessels
    ]
    frame = {
        "type": "Feature",
        "properties": {"name": PRODUCT, "description": FRAME_TABLE},
        "geometry": {"type": "Polygon", "coordinates": [[[*place, 0.0] for place in FRAME]]},
    }
    return [*points, frame]


def geojson(features: list[Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features, "name": "Frame"})


def kml_placemark(description: str, geometry: str) -> str:
    return f"<Placemark><name>x</name><description><![CDATA[{description}]]></description>{geometry}</Placemark>\n"


def kml(
    vessels: list[tuple[Any, ...]] = VESSELS, frame: bool = True, before: str = "", points: str | None = None
) -> str:
    marks = [
        kml_placemark(
            vessel_table(v), f"<Point><coordinates>{points or f'{v[1]:.9f},{v[2]:.9f},0.0'}</coordinates></Point>"
        )
        for v in vessels
    ]
    if frame:
        ring = " ".join(f"{lon:.9f},{lat:.9f},0.0" for lon, lat in FRAME)
        marks.append(
            kml_placemark(
                FRAME_TABLE,
                "<Polygon><outerBoundaryIs><LinearRing><coordinates>"
                f"{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon>",
            )
        )
    body = "".join(marks)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>'
        f"<name>Vessel</name>{body}</Folder></Document></kml>\n"
    )


FORMS: list[tuple[type[Decoder], str]] = [
    (KsatCsv, vendor_csv()),
    (KsatCsv, merged_csv()),
    (KsatGeoJson, geojson(geojson_features())),
    (KsatKml, kml()),
]

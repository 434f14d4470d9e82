"""Footprints as well-known binary (OGC 06-103r4), the form of geometries in columnar files."""

from __future__ import annotations

import struct
from typing import Any

_POLYGON, _MULTIPOLYGON = 3, 6
# EWKB flags a third coordinate, a measure and a coordinate system; ISO WKB adds 1000 for the third coordinate.
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x80000000, 0x40000000, 0x20000000
_ISO_Z = 1000


def wkb_of(geojson: dict[str, Any]) -> bytes:
    """A GeoJSON Polygon or MultiPolygon, without altitudes. ``ValueError`` where it is neither."""
    try:
        kind, coordinates = geojson["type"], geojson["coordinates"]
        if kind == "Polygon":
            return _polygon(coordinates)
        if kind == "MultiPolygon":
            parts = [_polygon(polygon) for polygon in coordinates]
            return struct.pack("<BII", 1, _MULTIPOLYGON, len(parts)) + b"".join(parts)
    except (KeyError, TypeError, IndexError, struct.error, OverflowError) as error:
        raise ValueError(f"no polygon: {error}") from None
    raise ValueError(f"neither a Polygon nor a MultiPolygon: {kind!r}")


def geojson_of(wkb: bytes) -> dict[str, Any]:
    """The GeoJSON Polygon or MultiPolygon of WKB or EWKB in either byte order, without altitudes.

    ``ValueError`` where it is neither, or is cut short or followed by more.
    """
    try:
        kind, coordinates, end = _geometry(wkb, 0)
    except struct.error:
        raise ValueError("WKB is cut short") from None
    if end != len(wkb):
        raise ValueError("WKB is followed by other bytes")
    return {"type": "Polygon" if kind == _POLYGON else "MultiPolygon", "coordinates": coordinates}


def _polygon(rings: Any) -> bytes:
    parts = [struct.pack("<BII", 1, _POLYGON, len(rings))]
    for ring in rings:
        values = [float(x) for position in ring for x in (position[0], position[1])]
        parts.append(struct.pack(f"<I{len(values)}d", len(ring), *values))
    return b"".join(parts)


def _geometry(wkb: bytes, at: int) -> tuple[int, list[Any], int]:
    order = {0: ">", 1: "<"}.get(wkb[at]) if at < len(wkb) else "<"
    if order is None:
        raise ValueError("WKB without a byte order")
    (code,) = struct.unpack_from(f"{order}I", wkb, at + 1)
    at += 5
    size = 2
    if code & _EWKB_SRID:
        at += 4
    if code & _EWKB_Z:
        size = 3
    if code & _EWKB_M:
        raise ValueError("WKB with a measure")
    kind = code & ~(_EWKB_Z | _EWKB_SRID)
    if kind // _ISO_Z == 1:
        kind, size = kind - _ISO_Z, 3
    (count,) = struct.unpack_from(f"{order}I", wkb, at)
    at += 4
    out: list[Any] = []
    if kind == _MULTIPOLYGON:
        for _ in range(count):
            part, coordinates, at = _geometry(wkb, at)
            if part != _POLYGON:
                raise ValueError("WKB of a MultiPolygon with a part that is no Polygon")
            out.append(coordinates)
    elif kind == _POLYGON:
        for _ in range(count):
            (positions,) = struct.unpack_from(f"{order}I", wkb, at)
            if positions * size * 8 > len(wkb):
                raise ValueError("WKB is cut short")
            values = struct.unpack_from(f"{order}{positions * size}d", wkb, at + 4)
            at += 4 + positions * size * 8
            out.append([[values[k], values[k + 1]] for k in range(0, len(values), size)])
    else:
        raise ValueError(f"WKB of type {kind}: neither a Polygon nor a MultiPolygon")
    return kind, out, at

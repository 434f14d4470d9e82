"""Trajectories as the Python library `traffic` writes them: a JSON array of one record a position.

Timestamps are whole seconds as ms since 1970; feet, knots, feet a minute. Flights follow one another in the file,
whatever their times, so a file is an archive: its last record may be days older than its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, BinaryIO, ClassVar

import msgspec
from msgspec import Meta, Struct

from apss_fusion.feeds.aviation import (
    FOOT_M,
    FOOT_PER_MINUTE_MPS,
    KNOT_MPS,
    MAX_ALTITUDE_M,
    MAX_SPEED_MPS,
    MAX_VERTICAL_RATE_MPS,
    MIN_ALTITUDE_M,
    identity,
    utc,
)
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import element_pieces, parse, problem, read_whole
from apss_fusion.model import AltDatum, Detection, Look, Source

_Feet = Annotated[float, Meta(ge=MIN_ALTITUDE_M / FOOT_M, le=MAX_ALTITUDE_M / FOOT_M)]


class _Record(Struct):
    timestamp: float
    icao24: str
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)] | None = None
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)] | None = None
    altitude: _Feet | None = None
    geoaltitude: _Feet | None = None
    groundspeed: Annotated[float, Meta(ge=0.0, le=MAX_SPEED_MPS / KNOT_MPS)] | None = None
    track: Annotated[float, Meta(ge=0.0, le=360.0)] | None = None
    vertical_rate: (
        Annotated[
            float, Meta(ge=-MAX_VERTICAL_RATE_MPS / FOOT_PER_MINUTE_MPS, le=MAX_VERTICAL_RATE_MPS / FOOT_PER_MINUTE_MPS)
        ]
        | None
    ) = None
    callsign: str | None = None
    onground: bool | None = None


_RECORD = msgspec.json.Decoder(_Record)
_HEAD = re.compile(rb"\s*\[\s*\{([^{}]*)")


class Traffic(Decoder):
    """Records of trajectories to looks of one aircraft each."""

    name: ClassVar[str] = "traffic"
    title: ClassVar[str] = "trajectories of the library traffic, a JSON array"
    source: ClassVar[Source] = Source(
        modality="ADSB",
        domains=("AIR",),
        position_sigma_m=50.0,  # whole seconds: 0.3 s of error at 150 m/s
        max_latency_s=30 * 86_400.0,  # an archive: records of one flight after another's; 7 days in a recorded file
    )
    archive: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether an array begins whose first element has the keys of a position of an aircraft."""
        match = _HEAD.match(head.removeprefix(b"\xef\xbb\xbf"))
        keys = set(re.findall(rb'"(\w+)"\s*:', match[1])) if match else set()
        return {b"timestamp", b"icao24", b"latitude", b"longitude"} <= keys

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """An array of one element each."""
        source = UntilFault(stream)
        yield from element_pieces(parse(read_whole(source)), b"[", b"]")
        source.check()

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item an element."""
        source = UntilFault(stream)
        document = parse(read_whole(source))
        for number, raw in enumerate(document.elements, 1):
            try:
                yield self._item(_RECORD.decode(raw), number, bytes(raw))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Reject(*problem(error), number, bytes(raw))
        if document.broken:
            yield document.broken
        source.check()

    def _item(self, record: _Record, number: int, raw: bytes) -> Item:
        ids = identity(record.icao24, record.callsign)
        if ids is None:
            return Reject("no address of 6 hex digits", "icao24", number, raw)
        time = utc(record.timestamp / 1000.0)
        if time is None:
            return Reject("no time that a position can be from", "timestamp", number, raw)
        if record.latitude is None or record.longitude is None:
            return Ignored("no position")
        altitude: float | None = None
        datum: AltDatum | None = None
        if not record.onground:
            if record.altitude is not None:
                altitude, datum = record.altitude * FOOT_M, "BARO"
            elif record.geoaltitude is not None:
                altitude, datum = record.geoaltitude * FOOT_M, "HAE"
        rate = record.vertical_rate
        look_id = content_id(self.name, raw)
        detection = Detection(
            detection_id=look_id,
            lat=record.latitude,
            lon=record.longitude,
            alt_m=altitude,
            alt_datum=datum,
            speed_mps=None if record.groundspeed is None else record.groundspeed * KNOT_MPS,
            course_deg=None if record.track is None else record.track % 360.0,
            vertical_rate_mps=None if rate is None else rate * FOOT_PER_MINUTE_MPS,
            domain="AIR",
            ids=ids or None,
        )
        return Look(look_id=look_id, source_id=self.name, time=time, detections=(detection,))

"""STANAG 4607 (AEDP-4607 Edition A Version 1, NATO): ground moving target indication.

One packet is one record. Every dwell is one look, also one that saw nothing. A dwell's segments may be split over
several packets: those that follow each other with the same indices, time and geometry are one look.

What becomes what (D: dwell, J: job definition, M: mission segment):

- time: the date of M5 to M7 and the milliseconds of D6, which may exceed a day;
- footprint: the dwell area D24 to D27. Where a target lies far outside it, the area is written wrongly (encoders exist
  that write D25 with the scale of a latitude), and there is none;
- p_detect: J25, percent; clutter: J26, decibels below one false alarm per m2; slowest speed: D31 or J24;
- position: D32.2/3, or D32.4/5 scaled by D10/D11 from D24/D25; longitudes of 0 to 360 become -180 to 180; height:
  D32.6;
- position error: D32.12 (slant range, cm), D32.13 (cross range, dm) and D32.14 (height, m) on the ground; J21 and J22
  where the target does not say;
- range rate: D32.7, cm/s, positive away from the sensor, with D32.15 or J23. It is known but for multiples of twice the
  wrap velocity D32.8: where that is below 50 m/s (180 km/h) a vehicle may have been folded, and there is none;
- class and domain: D32.10 with the probability D32.11. What the radar itself calls clutter is that likely no object.

The platform P8 makes the source ``gmti-4607/PLATFORM``. Signal to noise, radar cross section and truth tags are no part
of a picture. The packet's security classification P4 and exercise indicator P7 have no field in a look: the register
must give the source the marking that its packets have.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, ClassVar, TypeVar

import msgspec
from msgspec import structs
from stanag4607 import (
    DecodeError,
    DecodeLimits,
    DwellSegment,
    PacketHeader,
    Segment,
    decode_dwell_segment,
    decode_job_definition_segment,
    decode_mission_segment,
    decode_packet,
)

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.gmti_common import dwell_area, lies_near
from apss_fusion.feeds.gmti_packets_common import (
    DWELL,
    JOB,
    MAX_PACKET_BYTES,
    MAX_SEGMENTS,
    MISSION,
    Damage,
    packets,
    starts_with_packet,
)
from apss_fusion.feeds.gmti_targets_common import (
    clutter_per_km2,
    detections,
    longitude,
    min_detectable_speed_mps,
    p_detect,
)
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.model import Look, Source

#: Missions and jobs remembered; the oldest are forgotten.
MAX_MISSIONS = 128
MAX_JOBS = 1024

#: Packets of one dwell that are kept together in a piece; a dwell of more of them is not heard of.
_MAX_PIECE_BYTES = 4 * MAX_PACKET_BYTES
_LIMITS = DecodeLimits(max_packet_size=MAX_PACKET_BYTES, max_segments=MAX_SEGMENTS)
_Mission = tuple[bytes, int]
_Job = tuple[bytes, int, int]
_Saved = tuple[list[tuple[_Mission, datetime]], list[tuple[_Job, bytes]]]
_K = TypeVar("_K")
_V = TypeVar("_V")


class _Dwell(msgspec.Struct):
    """A look in the making. Segments with the same `dwell_id` (indices, time, geometry) are parts of one dwell."""

    dwell_id: str
    look: Look
    centre: tuple[float, float]
    payloads: list[bytes]
    records: int = 0

    def add(self, other: _Dwell) -> None:
        """Take a further part of the dwell."""
        self.payloads += other.payloads
        self.look = structs.replace(self.look, detections=self.look.detections + other.look.detections)

    def decoded(self) -> Decoded:
        """The look, named by all its content."""
        look, footprint = self.look, self.look.footprint
        lat, lon = [d.lat for d in look.detections], [d.lon for d in look.detections]
        if footprint is not None and not lies_near(footprint, self.centre, lat, lon):
            footprint = None
        look_id = content_id(self.dwell_id, *self.payloads)
        return Decoded(structs.replace(look, look_id=look_id, footprint=footprint), self.records)


class Stanag4607(Decoder):
    """STANAG 4607 packets, one after the other."""

    name: ClassVar[str] = "gmti-4607"
    title: ClassVar[str] = "STANAG 4607 ground moving target indication"
    source: ClassVar[Source] = Source(
        modality="GMTI",
        domains=("GROUND", "SEA", "AIR"),
        # Cross range of a beam known to 0.1 mrad from 1000 km; slant range is better by far.
        position_sigma_m=100.0,
        # A mover above the slowest speed, in the open: shadow and trees are for the register to say.
        p_detect=0.8,
        # A false alarm rate of 1e-6 in cells of 10 m by 100 m with 30 Doppler bins.
        clutter_per_km2=0.03,
        # Processed on board or at the ground station, dwell by dwell.
        max_latency_s=60.0,
    )

    def __init__(self) -> None:
        self._missions: dict[_Mission, datetime] = {}
        self._jobs: dict[_Job, bytes] = {}

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a packet header and the header of a segment of the standard come first."""
        return starts_with_packet(head)

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """Packets, one each; those over which a dwell is split, and what lies between them, are one."""
        decoder = cls()
        source = UntilFault(stream)
        piece, dwell_id = b"", ""
        for packet in packets(source):
            if isinstance(packet, Damage):
                yield packet.record
                continue
            dwells, _, _ = decoder._decode(packet, 0)
            ends = not dwell_id or (dwells and dwells[0].dwell_id != dwell_id)
            if piece and (ends or len(piece) + len(packet) > _MAX_PIECE_BYTES):
                yield piece
                piece = b""
            piece += packet
            if dwells:
                dwell_id = dwells[-1].dwell_id
        if piece:
            yield piece
        source.check()

    def state(self) -> bytes:
        """The missions (their dates) and job definitions that later packets refer to."""
        return msgspec.msgpack.encode((list(self._missions.items()), list(self._jobs.items())))

    def restore(self, state: bytes) -> None:
        """Know the missions and jobs of an earlier input."""
        if state:
            missions, jobs = msgspec.msgpack.decode(state, type=_Saved)
            self._missions, self._jobs = dict(missions), dict(jobs)

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Looks dwell by dwell, each once the next dwell or the end shows that it is complete."""
        pending: _Dwell | None = None
        source = UntilFault(stream)
        for count, packet in enumerate(packets(source), 1):
            if isinstance(packet, Damage):
                yield Reject(packet.reason, None, count, packet.record)
                continue
            dwells, problems, used = self._decode(packet, count)
            # The packet is one record: of its first dwell, else of its first problem, else of what it brought.
            record, again = 1, False
            for dwell in dwells:
                if pending is not None and pending.dwell_id == dwell.dwell_id:
                    if dwell.payloads[0] in pending.payloads:
                        again = True
                        continue
                    pending.add(dwell)
                else:
                    if pending is not None:
                        yield pending.decoded()
                    pending = dwell
                pending.records += record
                record = 0
            for problem in problems:
                yield structs.replace(problem, is_record=record == 1)
                record = 0
            if record == 1:
                if used:
                    yield Used()
                elif again:
                    yield Ignored("the same dwell segment again")
                else:
                    yield Ignored("no dwell, mission or job definition in the packet")
        if pending is not None:
            yield pending.decoded()
        source.check()

    def _decode(self, raw: bytes, count: int) -> tuple[list[_Dwell], list[Reject], bool]:
        """Dwells and dead letters of one packet, and whether it brought a mission or a job definition."""
        dwells: list[_Dwell] = []
        problems: list[Reject] = []
        used = False
        try:
            packet = decode_packet(raw, limits=_LIMITS)
        except DecodeError as error:
            return dwells, [Reject(str(error), None, count, raw)], used
        for segment in packet.segments:
            try:
                if segment.segment_type == MISSION:
                    self._take_mission(packet.header, segment)
                    used = True
                elif segment.segment_type == JOB:
                    job = decode_job_definition_segment(segment)
                    key = (packet.header.platform_id, packet.header.mission_id, job.job_id)
                    _remember(self._jobs, key, segment.payload, MAX_JOBS)
                    used = True
                elif segment.segment_type == DWELL:
                    dwell, bad_targets = self._dwell(packet.header, segment, count)
                    dwells.append(dwell)
                    problems += bad_targets
            except DecodeError as error:
                problems.append(Reject(str(error), None, count, segment.payload))
            except BadValue as error:
                problems.append(Reject(error.reason, error.field, count, segment.payload))
        return dwells, problems, used

    def _take_mission(self, header: PacketHeader, segment: Segment) -> None:
        mission = decode_mission_segment(segment)
        try:
            date = datetime(mission.reference_year, mission.reference_month, mission.reference_day, tzinfo=UTC)
        except ValueError:
            date = datetime.min.replace(tzinfo=UTC)
        if not 1970 <= date.year < 2200:
            raise BadValue("M5", "M5 to M7 are not a date of the years 1970 to 2199")
        _remember(self._missions, (header.platform_id, header.mission_id), date, MAX_MISSIONS)

    def _dwell(self, header: PacketHeader, segment: Segment, count: int) -> tuple[_Dwell, list[Reject]]:
        # D4 (last dwell of the revisit) is of no use here: a dwell is not refused because it is neither 0 nor 1.
        payload = segment.payload[:12] + b"\x00" + segment.payload[13:]
        dwell = decode_dwell_segment(Segment(DWELL, payload), max_target_reports=65535)
        date = self._missions.get((header.platform_id, header.mission_id))
        if date is None:
            raise BadValue("M5", "no mission segment has told the date")
        time = date + timedelta(milliseconds=dwell.dwell_time_milliseconds)
        saved = self._jobs.get((header.platform_id, header.mission_id, header.job_id))
        job = None if saved is None else decode_job_definition_segment(Segment(JOB, saved))
        dwell_id = content_id(
            self.name,
            header.platform_id,
            *(str(n) for n in (header.mission_id, header.job_id, dwell.revisit_index, dwell.dwell_index)),
            time.isoformat(),
            _geometry(dwell),
        )
        found, bad_targets = detections(dwell, job, content_id(dwell_id, payload), count)
        centre = (float(dwell.center_latitude.degrees), longitude(float(dwell.center_longitude.degrees)))
        look = Look(
            look_id=dwell_id,
            source_id=_source_id(header.platform_id),
            time=time,
            footprint=dwell_area(
                (float(dwell.sensor_latitude.degrees), longitude(float(dwell.sensor_longitude.degrees))),
                centre,
                float(dwell.range_half_extent_kilometers) * 1000.0,
                float(dwell.angle_half_extent.degrees),
            ),
            p_detect=p_detect(job),
            clutter_per_km2=clutter_per_km2(job),
            min_detectable_speed_mps=min_detectable_speed_mps(dwell, job),
            detections=found,
        )
        return _Dwell(dwell_id, look, centre, [payload]), bad_targets


def _geometry(dwell: DwellSegment) -> bytes:
    """D7 to D9 and D24 to D27 as they were written: the sensor's position and the dwell area."""
    fields: list[Any] = [dwell.field_bytes(field) for field in (7, 8, 9, 24, 25, 26, 27)]
    return b"".join(fields)


def _source_id(platform_id: bytes) -> str:
    platform = platform_id.decode("latin-1").strip(" \x00")
    named = platform and platform.isascii() and platform.isprintable()
    return f"{Stanag4607.name}/{platform}" if named else Stanag4607.name


def _remember(memory: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        del memory[next(iter(memory))]

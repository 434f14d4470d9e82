r"""AIS messages as NMEA 0183 sentences, as receivers, networks and satellites write them.

A line is ``!AIVDM,count,number,sequence,channel,payload,fill*checksum`` of any talker, perhaps behind a tag block
(``\s:STATION,c:TIME*hh\``), perhaps followed by the time of its arrival (``,seconds`` or ``,milliseconds``), perhaps
announced by a Gatehouse line (``$PGHP``). A record is a message, its sentences together, or a line that cannot be one.

A message tells only the second of its minute. The rest of the observation time comes from the tag block, else from its
``$PGHP`` line, else from the arrival. ``$PGHP`` lines are matched by the checksum that they quote: loggers shuffle the
lines of one instant, and in satellite recordings a message may stand 16 lines before or behind its ``$PGHP`` line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import BinaryIO, ClassVar

import msgspec
from msgspec import Struct

from apss_fusion.feeds.ais_common import (
    NO_CRAFT,
    RECORD_BYTES,
    Static,
    StaticMemory,
    bad_mmsi,
    no_position,
    position_look,
    station_kind,
)
from apss_fusion.feeds.ais_parts import Assembler, Part, Partial
from apss_fusion.feeds.ais_payload import (
    DISTRESS_ACTIVE,
    OTHER_TYPES,
    POSITION_TYPES,
    SHIP_TYPES,
    STATIC_TYPES,
    TYPE_OF_CHARACTER,
    mmsi_of,
    other_position,
    ship_position,
    static_message,
)
from apss_fusion.feeds.ais_pghp import KEPT_LINES, REACH, Stamps, StampsState
from apss_fusion.feeds.ais_sentences import (
    CHECK_FIELDS,
    NO_TAG,
    Groups,
    Tag,
    at_second,
    datetime_of,
    fault_of,
    first_time,
    parse_tag,
    pieces,
    xor_of,
)
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject, Used, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.model import Source

#: A line that is longer is cut: the sentence stands in front, in the 82 characters of NMEA 0183 or a few more.
_MAX_LINE = 16_384
#: Most characters of one payload: a message of five slots has 168.
_MAX_PAYLOAD = 200
#: Most bytes of a tag block, of which IEC 61162-450 allows 80.
_MAX_TAG_BLOCK = 400
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_AIS_SENTENCES = (b"VDM", b"VDO")
_STATE_VERSION = 1

_RECOGNISED = re.compile(
    rb"(?:\A|[\r\n])(?:\\[^\\\r\n]{1,400}\\)?[!$][\x21-\x7e]{2}VD[MO],[1-9],[1-9],[0-9]?,[^,\r\n]?,"
)

_USED = Used()
_OTHER = {kind: Ignored(f"{name} (message {kind})") for kind, name in OTHER_TYPES.items()}
_NOT_AIS = Ignored("a sentence that carries no AIS message")
_TEST = Ignored("an AIS-SART, MOB or EPIRB under test")
_STATIC_OF_NO_CRAFT = Ignored("static report of a station that is no craft")


class _State(Struct):
    version: int
    count: int
    statics: dict[int, Static]
    waiting: list[tuple[bytes, list[Partial]]]
    groups: list[tuple[bytes, int, int | None, str | None]]
    stamps: StampsState
    ahead: list[tuple[int, int, bytes | None]]


class AisNmea(Decoder):
    """AIS messages in NMEA 0183 sentences."""

    name: ClassVar[str] = "ais-nmea"
    title: ClassVar[str] = "AIS messages as NMEA 0183 sentences, with tag blocks, $PGHP lines or arrival times"
    source: ClassVar[Source] = Source(
        modality="AIS",
        # SAR aircraft report themselves by AIS too.
        domains=("SEA", "AIR"),
        # Of ships that lie still, reported positions scatter by 1 to 4 m each axis; what moves is displaced by stamps of whole
        # seconds and receivers' clocks.
        position_sigma_m=5.0,
        time_sigma_s=1.0,
        # Satellites hand messages down at their next ground station: exactEarth recordings are 35 to 112 minutes late.
        max_latency_s=7200.0,
    )
    priority: ClassVar[int] = 20

    #: Set where another input follows: what is unfinished at the end then goes into `state`, not to the dead letters.
    more_follows = False

    def __init__(self) -> None:
        self._memory = StaticMemory()
        self._assembler = Assembler()
        self._groups = Groups()
        self._stamps = Stamps()
        #: Lines read so far, in all inputs.
        self._count = 0
        #: Lines that were read ahead of those being decoded, with their counts and their numbers in the file.
        self._ahead: deque[tuple[int, int, bytes | None]] = deque()
        #: Items that one line gave beside its own.
        self._more: list[Item] = []

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a line begins with an AIS sentence, after a tag block or not."""
        return _RECOGNISED.search(head.removeprefix(_BYTE_ORDER_MARK)) is not None

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """Lines; after the last one, where lines may still wait for ``$PGHP`` lines, blank ones that end that."""
        count = last_pghp = 0
        for count, line in lines(stream, cut=True):
            # How far lines stand apart counts, so that blank ones are needed too.
            yield line or b"\n"
            if line is not None and line.startswith(b"$PGHP"):
                last_pghp = count
        if 0 < count <= REACH or (last_pghp and count - last_pghp <= KEPT_LINES):
            yield b"\n" * REACH

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a message, or line that is none; messages that miss a sentence come last, a dead letter a line."""
        for count, number, line in self._delayed(stream):
            item = self._line(count, number, line)
            if item is not None:
                yield item
            if self._more:
                yield from self._more
                self._more.clear()
        if not self.more_follows:
            self._assembler.drop_all()
            yield from self._dropped()

    def _delayed(self, stream: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
        """Lines with their counts and numbers, so late that the ``$PGHP`` lines around each have been read."""
        ahead = self._ahead
        try:
            for number, line in lines(stream):
                self._count = count = self._count + 1
                if line is not None:
                    if len(line) > _MAX_LINE:
                        line = line[:_MAX_LINE]
                    if line.startswith(b"$PGHP"):
                        self._stamps.read(line, count)
                        continue
                if not ahead and not self._stamps.near(count):
                    yield count, number, line
                    continue
                ahead.append((count, number, line))
                while ahead and (ahead[0][0] <= count - REACH or not self._stamps.near(count)):
                    yield ahead.popleft()
        except Exception:
            # Reading failed; what was read before is still good.
            while ahead:
                yield ahead.popleft()
            raise
        while ahead and not self.more_follows:
            yield ahead.popleft()

    def _line(self, count: int, number: int, line: bytes | None) -> Item | None:
        """What becomes of one line; ``None`` where it is no record or part of an unfinished one."""
        if line is None:
            return Reject("the line is too long", None, number, None)
        tag, sentence = NO_TAG, line
        if line.startswith(b"\\"):
            end = line.find(b"\\", 1)
            if 0 < end <= _MAX_TAG_BLOCK:
                tag, sentence = self._tag(line[1:end], count), line[end + 1 :]
        fields = sentence.split(b",")
        if fields[0][3:] not in _AIS_SENTENCES or not fields[0].startswith((b"!", b"$")):
            return self._other_line(count, number, line, sentence)
        if len(fields) < 7:
            return _reject("the sentence is cut off", "checksum", number, line)
        check = CHECK_FIELDS.get(fields[6]) or CHECK_FIELDS.get(fields[6].strip())
        if check is None:
            return self._odd_check(count, number, line, fields[6])
        fill, checksum = check
        if xor_of(sentence[1 : sentence.index(b"*")]) != checksum:
            return _reject("the checksum does not match", "checksum", number, line)
        payload = fields[5]
        if not 0 < len(payload) <= _MAX_PAYLOAD:
            return _reject("no payload, or one that is too long", "payload", number, line)
        arrival_us = first_time(fields[7:]) if len(fields) > 7 else None
        if fields[1] == b"1" == fields[2]:
            return self._message(count, number, line, payload, fill, checksum, tag.time_us, tag.station, arrival_us)
        total, index = _small(fields[1]), _small(fields[2])
        if not 1 <= index <= total:
            return _reject("sentence number and count do not fit", "fragment", number, line)
        key = b",".join((fields[0], fields[1], fields[3], fields[4]))
        part = Part(count, number, line[:RECORD_BYTES], payload)
        whole = self._assembler.add(key, total, index, part, fill, checksum, tag, arrival_us)
        self._more.extend(self._dropped())
        return None if whole is None else self._joined(whole)

    def _joined(self, whole: Partial) -> Item:
        parts = [whole.parts[index] for index in sorted(whole.parts)]
        return self._message(
            whole.first,
            parts[0].number,
            b"\n".join(part.line for part in parts),
            b"".join(part.payload for part in parts),
            whole.fill,
            whole.checksum,
            whole.time_us,
            whole.station,
            whole.arrival_us,
        )

    def _other_line(self, count: int, number: int, line: bytes, sentence: bytes) -> Item | None:
        """What becomes of a line that does not begin with an AIS sentence."""
        text = sentence.lstrip(_BYTE_ORDER_MARK + b" \t").rstrip()
        if not text or text.startswith((b"#", b"$PGHP")):
            return None
        if len(text) < len(sentence):
            return self._line(count, number, line[: len(line) - len(sentence)] + text)
        fault = fault_of(text)
        return _NOT_AIS if fault is None else _reject(fault, "checksum" if "checksum" in fault else None, number, line)

    def _odd_check(self, count: int, number: int, line: bytes, field: bytes) -> Item | None:
        """What becomes of a line whose checksum is followed by something else: perhaps by the next sentence."""
        found = pieces(line)
        if len(found) > 1 and b"".join(found) == line:
            for piece in found:
                item = self._line(count, number, piece)
                if item is not None:
                    self._more.append(item)
            return None
        fault = "no checksum" if b"*" not in field else "fill bits or checksum are not what they can be"
        return _reject(fault, "checksum", number, line)

    def _tag(self, block: bytes, count: int) -> Tag:
        tag = parse_tag(block)
        return tag if tag.group is None else self._groups.complete(tag, count)

    def _dropped(self) -> Iterator[Reject]:
        for part in sorted(self._assembler.dropped, key=lambda part: part.count):
            yield _reject("the message misses a sentence", "fragment", part.number, part.line)
        self._assembler.dropped.clear()

    def _message(
        self,
        count: int,
        number: int,
        record: bytes,
        payload: bytes,
        fill: int,
        checksum: int,
        time_us: int | None,
        station: str | None,
        arrival_us: int | None,
    ) -> Item:
        """What becomes of a whole message, whose first sentence is line `count`."""
        if time_us is None and self._stamps:
            stamp = self._stamps.claim(count, checksum, (line for _, _, line in self._ahead))
            if stamp is not None:
                time_us, station = stamp.time_us, stamp.station
        kind = TYPE_OF_CHARACTER[payload[0]]
        if kind in SHIP_TYPES:
            position = ship_position(kind, payload, fill)
        elif kind in POSITION_TYPES:
            position = other_position(kind, payload, fill)
        else:
            return self._without_position(kind, number, record, payload, fill)
        if isinstance(position, str):
            return _reject(position, "payload", number, record)
        if position.static is not None and station_kind(position.mmsi) not in ("invalid", *NO_CRAFT):
            self._memory.learn(position.mmsi, position.static)
        craft = self._memory.craft(position.mmsi)
        if craft.kind == "invalid":
            return bad_mmsi(number, record)
        if craft.kind in NO_CRAFT:
            return NO_CRAFT[craft.kind]
        if craft.kind == "distress" and position.status not in (None, DISTRESS_ACTIVE):
            return _TEST
        if not (-90.0 <= position.lat <= 90.0 and -180.0 <= position.lon <= 180.0):
            return no_position(position.lat, position.lon, number, record)
        if time_us is None:
            if arrival_us is None:
                return _reject(
                    "no time: no tag block (or a damaged one), no $PGHP line, no time behind the sentence",
                    "time",
                    number,
                    record,
                )
            if self._stamps.dense(count):
                return _reject("no observation time: only its $PGHP line could tell it", "time", number, record)
            time_us = arrival_us
        received_us = time_us if arrival_us is None else arrival_us
        if position.second is not None and position.second < 60:
            time_us = at_second(time_us, position.second)
        time, source_id, prefix = _moment(time_us, station)
        return position_look(
            source_id,
            content_id(prefix + payload),
            craft,
            time,
            None if received_us == time_us else datetime_of(received_us),
            position.lat,
            position.lon,
            position.cov_enu_m2,
            position.speed_mps,
            position.course_deg,
            position.heading_deg,
            "AIR" if kind == 9 else craft.domain,
            position.alt_m,
            position.alt_datum,
        )

    def _without_position(self, kind: int, number: int, record: bytes, payload: bytes, fill: int) -> Item:
        if kind in STATIC_TYPES:
            report = static_message(kind, payload, fill)
            if isinstance(report, str):
                return _reject(report, "payload", number, record)
            mmsi, static = report
        elif kind in _OTHER:
            found = mmsi_of(payload)
            if found is None:
                return _reject("the payload is too short, or none", "payload", number, record)
            mmsi, static = found, None
        else:
            return _reject("no such message type" if kind >= 0 else "no payload", "type", number, record)
        sender = station_kind(mmsi)
        if sender == "invalid":
            return bad_mmsi(number, record)
        if static is None:
            return _OTHER[kind]
        if sender in NO_CRAFT:
            return _STATIC_OF_NO_CRAFT
        self._memory.learn(mmsi, static)
        return _USED

    def state(self) -> bytes:
        """Static reports and, where `more_follows`, unfinished messages, groups, ``$PGHP`` and lines read ahead."""
        return msgspec.msgpack.encode(
            _State(
                _STATE_VERSION,
                self._count,
                self._memory.records(),
                list(self._assembler.records().items()),
                self._groups.records(),
                self._stamps.records(),
                list(self._ahead),
            )
        )

    def restore(self, state: bytes) -> None:
        """Take up the state of an earlier decoder; ValueError if it is of another version or none."""
        if not state:
            return
        found = msgspec.msgpack.decode(state, type=_State)
        if found.version != _STATE_VERSION:
            raise ValueError(f"the state of {self.name} is of version {found.version}, not {_STATE_VERSION}")
        self._count = found.count
        self._memory.restore(found.statics)
        self._assembler.restore(dict(found.waiting))
        self._groups.restore(found.groups)
        self._stamps.restore(found.stamps)
        self._ahead = deque(found.ahead)


def _reject(reason: str, field: str | None, number: int, record: bytes) -> Reject:
    return Reject(reason, field, number, record[:RECORD_BYTES])


def _small(text: bytes) -> int:
    """A digit from 1 to 9, else 0."""
    return text[0] - 48 if len(text) == 1 and 49 <= text[0] <= 57 else 0


@lru_cache(maxsize=8192)
def _moment(time_us: int, station: str | None) -> tuple[datetime, str, bytes]:
    """Time, source id, and what stands before the payload in what names a look (see `content_id`)."""
    time = datetime_of(time_us)
    source_id = AisNmea.name if station is None else f"{AisNmea.name}/{station}"
    return time, source_id, f"{source_id}\0{time.isoformat()}\0".encode()

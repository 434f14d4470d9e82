"""Records that nobody can use: on every topic of feeds, and where looks are expected."""

from __future__ import annotations

from datetime import timedelta

from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Detection, Look
from apss_fusion.replay.pipeline_lines import look_json

from . import world
from .load import produce
from .run import Run

_GARBAGE: tuple[bytes | None, ...] = (
    None,
    b"\x00\xff\xfe garbage \x80",
    b"{",
    b"[]",
    b"123",
    b'{"a": 1}',
    b'[{"a": [1, {"b": null}]}]',
    b"\x1f\x8b\x08 no gzip",
    b"",
    b" ",
    b"\n\r\n",
    b"[" * 100_000,
    b'{"look_id": 1e999}',
    "\ufeff\u2028\ud7ff".encode(),
    b"x" * 1_000_000,
    b"!AIVDM,2,1,7,A,53nFBv01SJ<thHp6220H4heHTf2222222222221?50:454o<`9QSlUDp,0*1C",
    b"!AIVDM,1,1,,A,~~~~,0*00",
    b"a,b,c\n1,2,3\n\n,,,\n",
)
Header = tuple[str, bytes]


def _headers(**other: bytes) -> list[Header]:
    names = {"ce_specversion": b"1.0", "ce_type": b"apss.look.v1", "ce_dataschema": b"urn:apss-fusion:Look:1"}
    return list((names | other).items())


def _compact(detections: int) -> bytes:
    """A look with many detections, in few bytes each."""
    found = ",".join(f'{{"detection_id":"{k}","lat":51.3,"lon":-3.2}}' for k in range(detections))
    return f'{{"look_id":"many","source_id":"coast","time":"2026-01-01T00:00:00Z","detections":[{found}]}}'.encode()


class Poisoner:
    """Produces poison; `must` are the keys of dead letters that there have to be."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.must: list[str] = []

    def feeds(self) -> None:
        """On every topic of feeds."""
        run = self._run
        for decoder in decoders():
            topic = run.settings.topic(f"feeds.{decoder.name}")
            places = produce(run.settings.bootstrap, *((topic, 0, b"poison", value, []) for value in _GARBAGE))
            # Of the others, each format has its own view.
            self.must.append(f"{topic}/0/{places[0].offset}")
        # Short as it comes, too long for a topic as a look of this project.
        long = _compact(40_000)
        topic = run.settings.topic("feeds.looks")
        (place,) = produce(run.settings.bootstrap, (topic, 0, b"poison", long, []))
        self.must.append(f"{topic}/0/{place.offset}")

    def looks(self) -> None:
        """Where looks are expected: in all partitions, with headers as they have them, or others."""
        run = self._run
        good = look_json(self._look("good", 1)).rstrip()
        rows: list[tuple[bytes | None, list[Header]]] = [(value, _headers()) for value in _GARBAGE]
        rows += [
            (good, _headers(ce_dataschema=b"urn:apss-fusion:Look:2")),
            (good, _headers(ce_specversion=b"0.3")),
            (good, _headers(ce_type=b"apss.track.v1")),
            (good, _headers(ce_type=b"\xff")),
            *((good, _headers(origin=text)) for text in _ORIGINS),
            (good.replace(b'"time":"2', b'"time":"no '), _headers()),
            (good.replace(b'"lat"', b'"late"'), _headers()),
            (good.replace(b'"look_id":"good"', b'"look_id":7'), _headers()),
            (good[: len(good) // 2], _headers()),
            (good.replace(b'"good"', b'"' + b"x" * 20_000 + b'"'), _headers()),
            (good.replace(b'"ids":null', b'"ids":{' + b'"a":"b",' * 5000 + b'"c":"d"}'), _headers()),
            (_compact(100_000), _headers()),
        ]
        topic = run.settings.topic("looks")
        for partition in range(len(run.deployment.regions)):
            places = produce(
                run.settings.bootstrap, *((topic, partition, b"poison", value, headers) for value, headers in rows)
            )
            self.must += [f"{topic}/{partition}/{place.offset}" for place in places]

    def _look(self, name: str, detections: int) -> Look:
        lat, lon = world.AREAS[0]
        seen = tuple(Detection(detection_id=f"{k}", lat=lat, lon=lon, domain="SEA") for k in range(detections))
        time = world.T0 + timedelta(seconds=self._run.load.arrived_s)
        return Look(look_id=name, source_id="coast", time=time, detections=seen)


#: Origins that are none.
_ORIGINS = (
    b"",
    b"x",
    b"feeds.looks/0/1",
    b"feeds.looks/0/1/2/3",
    b"feeds.looks/zero/1/2",
    b"feeds.looks/0/-1/0",
    b"feeds.looks/0/1/0x2",
    b"\xff\xfe/0/1/2",
    b"feeds.looks/0/" + b"9" * 30 + b"/0",
    b"/0/1/2",
)

"""What the decoders of aircraft share: units, accuracy categories, whole JSON documents. And helpers of their tests."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds import aviation, whole_json
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.whole_json import parse
from apss_fusion.model import Detection, Look


def decode(decoder: type[Decoder] | Decoder, data: bytes | str) -> list[Item]:
    instance = decoder() if isinstance(decoder, type) else decoder
    return list(instance.items(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def looks_of(items: Iterable[Item]) -> list[Look]:
    return [item for item in items if isinstance(item, Look)]


def kinds(items: Iterable[Item]) -> Counter[str]:
    """How many items of which kind, ignored ones by reason."""
    return Counter(
        item.reason if isinstance(item, Ignored) else f"{type(item).__name__}" + ("" if _is_record(item) else " part")
        for item in items
    )


def records(items: Iterable[Item]) -> int:
    """How many records the items stand for."""
    return sum(item.records if isinstance(item, Decoded | Used | Ignored) else int(_is_record(item)) for item in items)


def _is_record(item: Item) -> bool:
    return not isinstance(item, Reject) or item.is_record


def check_items(items: Iterable[Item]) -> None:
    """What holds for every item, whatever it was read from."""
    for item in items:
        if isinstance(item, Reject):
            assert item.reason
        if not isinstance(item, Look):
            continue
        assert item.look_id
        assert 1990 <= item.time.year < 2100
        for detection in item.detections:
            assert -90.0 <= detection.lat <= 90.0
            assert -180.0 <= detection.lon <= 180.0
            assert (detection.alt_m is None) == (detection.alt_datum is None)
            assert detection.speed_mps is None or detection.speed_mps >= 0.0
            assert detection.course_deg is None or 0.0 <= detection.course_deg < 360.0
            assert detection.heading_deg is None or 0.0 <= detection.heading_deg < 360.0
            if detection.cov_enu_m2 is not None:
                ee, en, nn = detection.cov_enu_m2
                assert ee > 0.0
                assert nn > 0.0
                assert en * en < ee * nn


def altitude(detection: Detection) -> tuple[Any, Any]:
    return detection.alt_m, detection.alt_datum


def unknown(*values: object) -> bool:
    """Whether all of them are None."""
    return all(value is None for value in values)


def distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great circle distance between two (lat, lon) in degrees."""
    lat, other = math.radians(a[0]), math.radians(b[0])
    h = math.sin((lat - other) / 2) ** 2
    h += math.cos(lat) * math.cos(other) * math.sin(math.radians(a[1] - b[1]) / 2) ** 2
    return 2 * 6_371_009 * math.asin(min(1.0, math.sqrt(h)))


def speeds(looks: Iterable[Look]) -> Iterator[tuple[float, float, Look]]:
    """Seconds, m/s and the later look, of consecutive positions of each aircraft."""
    tracks: dict[str, list[Look]] = {}
    for look in looks:
        ids = look.detections[0].ids
        assert ids is not None
        tracks.setdefault(ids["icao24"], []).append(look)
    for track in tracks.values():
        for a, b in itertools.pairwise(sorted(track, key=lambda look: look.time)):
            seconds = (b.time - a.time).total_seconds()
            p, q = a.detections[0], b.detections[0]
            yield seconds, distance_m((p.lat, p.lon), (q.lat, q.lon)) / max(seconds, 1e-9), b


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with some bytes replaced, removed or doubled, or cut off."""
    content = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 8))
        what = draw(st.sampled_from(("byte", "token", "remove", "double", "cut")))
        if what == "byte":
            content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif what == "token":
            token = draw(
                st.sampled_from((b"null", b"NaN", b"-1e400", b'"x"', b"[]", b"{}", b",", b"\n", b"9" * 30, b"\xff"))
            )
            content[place : place + length] = token
        elif what == "remove":
            del content[place : place + length]
        elif what == "double":
            content[place:place] = content[place : place + length]
        elif draw(st.integers(0, 9)) == 0:
            del content[place:]
    return bytes(content)


class BrokenStream(io.BytesIO):
    """A stream that fails where its content ends."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise EOFError("the archive is truncated")
        return data


class TestAviation:
    def test_units(self) -> None:
        assert pytest.approx(514.444, abs=1e-3) == 1000 * aviation.KNOT_MPS
        assert pytest.approx(5.08) == 1000 * aviation.FOOT_PER_MINUTE_MPS

    def test_sigma_of_a_95_percent_radius(self) -> None:
        """Against the distribution: 95 % of points of a circular normal lie within the radius."""
        points = np.random.default_rng(1).normal(size=(200_000, 2))
        assert np.mean(np.hypot(*points.T) < aviation.SIGMAS_PER_R95) == pytest.approx(0.95, abs=2e-3)
        assert pytest.approx(2.4477, abs=1e-4) == aviation.SIGMAS_PER_R95

    def test_categories(self) -> None:
        assert aviation.position_sigma_m(10) == pytest.approx(10 / 2.4477, rel=1e-4)
        assert aviation.position_sigma_m(None, 186.0) == pytest.approx(186 / 4.7985, rel=1e-4)
        assert aviation.position_sigma_m(10, 186.0) == aviation.position_sigma_m(10)
        assert aviation.position_sigma_m(None) is None
        assert aviation.position_sigma_m(None, 0.0) is None
        assert aviation.position_sigma_m(15) is None
        assert aviation.speed_sigma_mps(2) == pytest.approx(3 / 2.4477, rel=1e-4)
        assert aviation.speed_sigma_mps(0) is None
        assert aviation.altitude_sigma_m(2) == pytest.approx(45 / 1.96, rel=1e-4)
        assert aviation.altitude_sigma_m(0) is None
        assert aviation.altitude_sigma_m(3) is None
        for table in (aviation.NAC_P_R95_M, aviation.NUC_P_R95_M):
            stated = [table[category] for category in sorted(table) if category > 0]
            assert stated == sorted(stated, reverse=True)

    def test_course_sigma(self) -> None:
        assert aviation.course_sigma_deg(1.0, 100.0) == pytest.approx(0.573, abs=1e-3)
        assert aviation.course_sigma_deg(1.0, 0.0) == 90.0
        assert aviation.course_sigma_deg(None, 100.0) is None
        assert aviation.course_sigma_deg(1.0, None) is None

    @given(
        sigma=st.floats(0.1, 1e4),
        speed=st.floats(0.0, 1000.0),
        course=st.floats(0.0, 360.0),
        time_sigma=st.floats(0.01, 2.0),
    )
    def test_covariance_stretches_along_the_track(
        self, sigma: float, speed: float, course: float, time_sigma: float
    ) -> None:
        ee, en, nn = aviation.position_covariance(sigma, speed, course, time_sigma)
        u = np.array([math.sin(math.radians(course)), math.cos(math.radians(course))])
        p = np.array([[ee, en], [en, nn]])
        v = np.array([-u[1], u[0]])
        assert u @ p @ u == pytest.approx(sigma**2 + (speed * time_sigma) ** 2, rel=1e-9)
        assert v @ p @ v == pytest.approx(sigma**2, rel=1e-6, abs=1e-6 * (speed * time_sigma) ** 2)

    def test_covariance_without_velocity(self) -> None:
        assert aviation.position_covariance(10.0, None, None) == (100.0, 0.0, 100.0)
        assert aviation.position_covariance(10.0, 100.0, None, 0.1) == (200.0, 0.0, 200.0)

    def test_identity(self) -> None:
        assert aviation.identity("AC671B", "DAL1812 ") == {"icao24": "ac671b", "callsign": "DAL1812"}
        assert aviation.identity("~2b3c4d", "  ") == {"address": "2b3c4d"}
        assert aviation.identity("000000", "N1") == {"callsign": "N1"}
        assert aviation.identity("FFFFFF") == {}
        for text in ("", "~", "12345", "1234567", "12345g", "\u0661\u0662\u0663\u0664\u0665\u0666", " 12345"):
            assert aviation.identity(text) is None

    def test_times_that_no_feed_is_from(self) -> None:
        assert aviation.utc(1_600_000_000.25).isoformat() == "2020-09-13T12:26:40.250000+00:00"  # type: ignore[union-attr]
        for seconds in (0.0, -1.0, 1.6e12, math.nan, math.inf, -math.inf, 1e300):
            assert aviation.utc(seconds) is None


class TestWholeJson:
    def test_arrays(self) -> None:
        document = parse(b'\xef\xbb\xbf [1, {"a": [2]}, "x"] ')
        assert [bytes(element) for element in document.elements] == [b"1", b'{"a": [2]}', b'"x"']
        assert document.broken is None

    def test_array_in_an_object(self) -> None:
        document = parse(b'{"a": 1, "list": [1, 2], "b": "x"}', ("other", "list"))
        assert [bytes(element) for element in document.elements] == [b"1", b"2"]
        assert {key: bytes(value) for key, value in document.beside.items()} == {"a": b"1", "b": b'"x"'}
        assert parse(b'{"list": null}', ("list",)).elements == []

    @pytest.mark.parametrize("data", [b"", b"  \n ", b"\xef\xbb\xbf"])
    def test_nothing(self, data: bytes) -> None:
        assert parse(data) == whole_json.Document([], {})

    @pytest.mark.parametrize(
        ("data", "keys"),
        [
            (b"{}", ()),
            (b"nonsense", ()),
            (b"1", ()),
            (b"{}", ("list",)),
            (b'{"list": 1}', ("list",)),
            (b"[1]", ("list",)),
            (b"\xff\xfe", ()),
            (b"[" * 100_000, ()),
            (b'{"a":' * 100_000, ("list",)),
        ],
    )
    def test_other_documents_are_one_reject(self, data: bytes, keys: tuple[str, ...]) -> None:
        document = parse(data, keys)
        assert document.elements == []
        assert document.broken is not None
        assert document.broken.is_record

    def test_what_stands_before_a_break_is_kept(self) -> None:
        document = parse(b'[{"a": 1}, {"a": NaN}, {"a": "\xff"}, {"a": tru')
        assert [json.loads(bytes(element)) for element in document.elements] == [{"a": 1}, {"a": None}, {"a": "\ufffd"}]
        assert document.broken is not None
        assert document.broken.line == 4
        assert document.broken.record == '{"a": tru'

    def test_nan_alone_breaks_nothing(self) -> None:
        document = parse(b'{"x": 1, "list": [NaN, 2, -Infinity], "y": 2}', ("list",))
        assert [bytes(element) for element in document.elements] == [b"null", b"2", b"null"]
        assert {key: bytes(value) for key, value in document.beside.items()} == {"x": b"1", "y": b"2"}
        assert document.broken is None

    def test_head_of_a_broken_object_is_kept(self) -> None:
        document = parse(b'{"x": 1, "list": [1, 2', ("list",))
        assert {key: bytes(value) for key, value in document.beside.items()} == {"x": b"1"}
        assert [bytes(element) for element in document.elements] == [b"1", b"2"]
        assert document.broken is not None

    def test_rubbish_after_the_document(self) -> None:
        document = parse(b"[1, 2] x")
        assert len(document.elements) == 2
        assert document.broken is not None

    def test_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(whole_json, "MAX_DOCUMENT_BYTES", 10)
        data = whole_json.read_whole(io.BytesIO(b"[" + b"1," * 50 + b"1]"))
        assert len(data) == 11
        document = parse(data)
        assert document.elements == []
        assert document.broken is not None
        assert "longer than 10 bytes" in document.broken.reason

    @given(
        values=st.lists(
            st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(), st.lists, max_leaves=5)
        )
    )
    def test_every_cut_keeps_whole_elements(self, values: list[object]) -> None:
        data = json.dumps(values).encode()
        for cut in range(0, len(data) + 1, max(1, len(data) // 20)):
            document = parse(data[:cut])
            read = [json.loads(bytes(element)) for element in document.elements]
            # A number that is cut is a number.
            assert read[:-1] == values[: max(len(read) - 1, 0)]
        assert [json.loads(bytes(element)) for element in parse(data).elements] == values

    def test_rejoined(self) -> None:
        stream = io.BytesIO(b"hello world")
        head = stream.read(5)
        rejoined = whole_json.Rejoined(head, stream)
        assert rejoined.read(3) == b"hel"
        assert rejoined.read(100) == b"lo"
        assert rejoined.read() == b" world"
        assert rejoined.read(1) == b""

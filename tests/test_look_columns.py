"""Looks read from lines and from columns straight to batches: the same as by way of looks, byte for byte."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_looks import SQUARE, T0, TEXTS, detection, encoder, look, looks, report

from apss_fusion.feeds.base import Decoded, Reject, lines
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.model import Look
from apss_fusion.replay.blocks import LookBlock
from apss_fusion.replay.json_numbers import read_number
from apss_fusion.replay.json_scan import PADDING
from apss_fusion.replay.looks_columns import read_look_blocks, whole_lines
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.encode import Encoder

Outcome = tuple[LookBatch, list[Reject], list[int]]


def slowly(data: bytes) -> Outcome:
    """By way of looks: batch, rejects, and the line of each look."""
    e = encoder()
    rejects, taken, numbers = [], [], []
    for number, line in lines(io.BytesIO(data)):
        for item in Looks().items(io.BytesIO(line or b"")):
            if isinstance(item, Reject):
                rejects.append(msgspec.structs.replace(item, line=number))
            elif isinstance(item, Look):
                taken.append(item)
                numbers.append(number)
            else:
                assert not isinstance(item, Decoded)
    return e.encode(taken), rejects, numbers


def quickly(data: bytes, block_bytes: int = 1 << 18) -> Outcome:
    """The same by blocks."""
    blocks = list(read_look_blocks(io.BytesIO(data), encoder(), block_bytes))
    rejects = [r for block in blocks for r in block.rejects]
    for block in blocks:
        assert len(block.numbers) == block.batch.given
    return LookBatch.concat([b.batch for b in blocks]), rejects, [n for b in blocks for n in b.numbers.tolist()]


def plainly(batch: LookBatch) -> tuple[Any, ...]:
    """A batch as it is in any process: numbers of attributes, sources and footprints by what they stand for."""
    own, rows = batch.looks.copy(), batch.detections.copy()
    own["source"] = 0
    rows["attributes"] = 0
    areas = [batch.footprints[k].area_km2 if k >= 0 else None for k in own["footprint"]]
    own["footprint"] = 0
    return own.tobytes(), rows.tobytes(), batch.text.tobytes(), areas, batch.rejected, batch.given


def check_same(data: bytes, block_bytes: int = 1 << 18) -> Outcome:
    slow, quick = slowly(data), quickly(data, block_bytes)
    assert plainly(quick[0]) == plainly(slow[0])
    assert quick[1:] == slow[1:]
    return quick


def line_of(item: Look, thin: bool = False) -> bytes:
    text = msgspec.json.encode(item)
    if not thin:
        return text
    fields = without_nulls(msgspec.json.decode(text))
    fields["detections"] = [without_nulls(d) for d in fields["detections"]]
    return msgspec.json.encode(fields)


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def count_quick(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were left to the decoder of the format, as they come."""
    left: list[bytes] = []
    items = Looks.items

    def watched(self: Looks, stream: io.BytesIO) -> Iterator[Any]:
        left.append(stream.getvalue())
        return items(self, stream)

    monkeypatch.setattr(Looks, "items", watched)
    return left


# ---------------------------------------------------------------- lines


@settings(max_examples=120)
@given(st.lists(looks(), max_size=6), st.booleans(), st.integers(1, 3000))
def test_any_looks_are_read_as_by_their_decoder(given_looks: list[Look], thin: bool, block_bytes: int) -> None:
    data = b"\n".join(line_of(k, thin) for k in given_looks) + b"\n"
    check_same(data, block_bytes)


def test_plain_lines_are_all_read_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = look(
        *[
            detection(
                detection_id=f"s{k}",
                lat=50 + k / 7,
                cov_enu_m2=(2500.0, 0.5, 2500.0),
                class_probs={"cargo": 0.61, "tug": 1 / 3},
                time=T0 + timedelta(seconds=k),
                alt_m=-1.5,
                alt_datum="MSL",
            )
            for k in range(30)
        ],
        footprint=SQUARE,
        time_end=T0 + timedelta(seconds=60),
        p_detect=1.0,
    )
    named = look(detection(ids={"name": 'M/V "ANNA" Ærø \\', "mmsi": "1"}))
    given_looks = [*(report(k) for k in range(50)), scan, look(), named]
    left = count_quick(monkeypatch)
    for thin in (False, True):
        batch, rejects, _ = quickly(b"\n".join(line_of(k, thin) for k in given_looks))
        assert left == [] and rejects == [] and batch.rejected == []
        assert len(batch) == 53 and len(batch.detections) == 81


SEEN: dict[str, Any] = {"detection_id": "d", "lat": 50.5, "lon": 0.5}
GOOD: dict[str, Any] = {"look_id": "l", "source_id": "sar", "time": "2026-01-01T00:00:00Z", "detections": [SEEN]}


def with_look(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def with_detection(**fields: Any) -> bytes:
    return json.dumps(GOOD | {"detections": [SEEN | fields]}).encode()


ODD = [
    b"",
    b"   ",
    b"{}",
    b"[]",
    b"null",
    b"{",
    b'"look_id"',
    b"\xef\xbb\xbf" + with_look(),
    b" " + with_look() + b" ",
    b"\t" + with_look(),
    with_look() + b",",
    with_look() + with_look(),
    with_look()[:-1],
    with_look()[:-2] + b",}",
    with_look().replace(b"}]}", b"},]}"),
    with_look().replace(b'"detections": [', b'"detections": [,'),
    with_look().replace(b'"lat": 50.5,', b'"lat": 50.5,,'),
    with_look().replace(b'"lat": 50.5', b'"lat"; 50.5'),
    with_look().replace(b'"lat": 50.5', b'"lat": 50.5, "lat": 51'),
    with_look().replace(b'"look_id"', b'"look_id": "k", "look_id"'),
    with_look().replace(b'"detections"', b'"detections": [], "detections"'),
    with_look().replace(b'"detections"', b'"detections": [{"detection_id": "e", "lat": 1, "lon": 2}], "detections"'),
    with_look().replace(b'"time"', b'"p_detect": 0.5, "p_detect": null, "time"'),
    with_look().replace(b'"lat"', b'"ids": {"mmsi": "1"}, "ids": null, "alt_m": 5, "alt_m": null, "lat"'),
    with_look().replace(b'"lat"', b'"cov_enu_m2": [4, 0, 4], "cov_enu_m2": null, "time": null, "lat"'),
    with_look().replace(b'"look_id"', b'"look\\u005fid"'),
    with_look().replace(b'"l"', b'"\\n\xc3\xa9"'),
    with_look().replace(b'"l"', b'"\xff"'),
    with_look().replace(b'"l"', b'"\x01"'),
    with_look().replace(b'"l"', b'"\\ud800"'),
    with_look(look_id=""),
    with_look(look_id=None),
    with_look(look_id=3),
    with_look(look_id="船-1"),
    with_look(source_id=""),
    with_look(source_id="quite/new"),
    with_look(time=None),
    with_look(time=0),
    with_look(time_end=""),
    with_look(time_end="2025-12-31T23:59:59Z"),
    with_look(time_end=None, time_received=None, p_detect=None, footprint=None),
    with_look(time="1969-12-31T23:59:59.999999Z"),
    with_look(time="2250-01-01T00:00:00Z"),
    with_look(time="9999-12-31T23:59:59-05:00"),
    with_look(footprint=SQUARE),
    with_look(footprint=SQUARE, p_detect=0.5),
    with_look(footprint={}),
    with_look(footprint={"type": "Polygon"}),
    with_look(footprint={"type": "Point", "coordinates": [0, 0]}),
    with_look(footprint={"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}),
    with_look(footprint=SQUARE | {"name": '"\\{'}),
    with_look(footprint=SQUARE).replace(b"[0, 50]", b"[0, 50", 1),
    with_look(footprint=SQUARE).replace(b"[0, 50]", b"[0, 050]", 1),
    with_look(footprint="round"),
    with_look(footprint=[1]),
    with_look(p_detect=1.5),
    with_look(p_detect="1"),
    with_look(clutter_per_km2=-1),
    with_look(clutter_per_km2=1e-7),
    with_look(min_detectable_speed_mps=True),
    with_look(detections=None),
    with_look(detections={}),
    with_look(detections=[]),
    with_look(detections=[3]),
    with_look(detections=[{}, {}, {}]),
    with_look(detections=[SEEN, SEEN]),
    with_look(note="seen by eye", n=17, sure=True, more=None, x=-0.5),
    with_look(note={"a": [1]}),
    with_look(note=[]),
    with_look().replace(b'"look_id"', b'"note": tru, "look_id"'),
    with_look().replace(b'"look_id"', b'"note": 01, "look_id"'),
    json.dumps({k: v for k, v in GOOD.items() if k != "time"}).encode(),
    json.dumps({k: v for k, v in GOOD.items() if k != "detections"}).encode(),
    with_detection(lat=None),
    with_detection(lat="50"),
    with_detection(lat=90.5),
    with_detection(lat=-90, lon=180),
    with_detection(lat=12345678901234567890),
    with_detection(lon=-180.00000000000003),
    with_detection(detection_id=None),
    with_detection(detection_id=""),
    with_detection(detection_id='"quoted"'),
    with_detection(time="2026-01-01T00:00:00.5+05:30"),
    with_detection(time="2026-01-03T00:00:00Z"),
    with_detection(time="noon"),
    with_detection(ellipse={"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 370}),
    with_detection(ellipse={"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 3, "probability": 0.5}),
    with_detection(ellipse={"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 3, "probability": None}),
    with_detection(ellipse={"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 3, "probability": 1}),
    with_detection(ellipse={"semi_major_m": 5, "semi_minor_m": 10, "orientation_deg": 3}),
    with_detection(ellipse={"semi_major_m": 5, "semi_minor_m": 1}),
    with_detection(ellipse={"semi_major_m": 5, "semi_minor_m": 1, "orientation_deg": 0, "note": 1}),
    with_detection(ellipse={}),
    with_detection(ellipse=[]),
    with_detection(ellipse=None, cov_enu_m2=None, alt_datum=None, ids=None, class_probs=None, time=None, alt_m=None),
    with_detection(cov_enu_m2=[1, 0, 1]),
    with_detection(cov_enu_m2=[1, 0]),
    with_detection(cov_enu_m2=[1, 0, 1, 1]),
    with_detection(cov_enu_m2=[1, 1, 1]),
    with_detection(cov_enu_m2=[0, 0, 0]),
    with_detection(cov_enu_m2=["1", 0, 1]),
    with_detection(domain="SEA"),
    with_detection(domain="AIR"),
    with_detection(domain="LAKE"),
    with_detection(domain=None),
    with_detection(alt_datum="GEOID"),
    with_detection(alt_datum="BARO", alt_m=100),
    with_detection(ids={}),
    with_detection(ids={"mmsi": "1"}),
    with_detection(ids={"mmsi": 1}),
    with_detection(ids={"mmsi": ["1"]}),
    with_detection(ids={"name": 'Ærø\\"}'}),
    with_detection(ids={"name": 'F\\V "ANNA"', "callsign": "\u00e9"}),
    with_detection(ids={"name": "x"}).replace(b'"x"', b'"\\q"'),
    with_detection(ids={"name": "x"}).replace(b'"x"', b'"x\\"'),
    with_detection(ids={"name": "x"}).replace(b'"x"', b'"\\ud800"'),
    with_detection(ids=[]),
    with_detection(ids={"mmsi": "1"}).replace(b'"mmsi": "1"', b'"mmsi" "1"'),
    with_detection(ids={"mmsi": "1"}).replace(b'"mmsi": "1"', b'"mmsi": "1", "mmsi": "2"'),
    with_detection(ids={"mmsi": "1"}).replace(b'"1"', b'"\xff"'),
    with_detection(ids={"mmsi": "1"}).replace(b'"1"', '"Ærø"'.encode()),
    with_detection(class_probs={"cargo": 1, "tug": 0.5}),
    with_detection(class_probs={"cargo": 2}),
    with_detection(class_probs={"cargo": "1"}),
    with_detection(speed_mps=0, course_deg=-0.0, length_m=0),
    with_detection(speed_mps=0, course_deg=-0.0),
    with_detection(speed_mps=-1),
    with_detection(speed_mps=math.inf),
    with_detection(speed_mps=math.nan),
    with_detection(speed_mps=1e3, course_deg=1e-3, heading_deg=0.1 + 0.2),
    with_detection(speed_mps=20_000),
    with_detection(detection_prob=1.5),
    with_detection(unknown="x"),
    with_detection(unknown={"x": 1}),
    with_detection().replace(b"50.5", b"50."),
    with_detection().replace(b"50.5", b".5"),
    with_detection().replace(b"50.5", b"+5"),
    with_detection().replace(b"50.5", b"-"),
    with_detection().replace(b"50.5", b"05"),
    with_detection().replace(b"50.5", b"5e"),
    with_detection().replace(b"50.5", b"5E1"),
    b'{"look_id":"l","source_id":"sar","time":"2026-01-01T00:00:00Z","detections":' + b"[" * 5000,
    b'{"look_id":"l","source_id":"sar","time":"2026-01-01T00:00:00Z","footprint":{"a":'
    + b"[" * 5000
    + b"]" * 5000
    + b"}}",
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_an_odd_line_is_read_as_by_its_decoder_and_its_neighbours_are_not_touched(number: int) -> None:
    before, after = line_of(report(1)), line_of(report(2), thin=True)
    batch, _, _ = check_same(b"\n".join([before, ODD[number], after]) + b"\n")
    assert (batch.look_id(0), batch.look_id(len(batch) - 1)) == ("r1", "r2")


def test_all_odd_lines_together() -> None:
    data = b"\n".join(ODD + ODD[::-1])
    batch, rejects, numbers = check_same(data)
    assert len(rejects) > 100 and len(batch) > 50 and len(numbers) == batch.given
    for size in (97, 1000, 20_000):
        check_same(data, size)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.sampled_from(ODD[11:]))
def test_a_damaged_line_is_read_as_by_its_decoder(random: random.Random, line: bytes) -> None:
    data = bytearray(line[:2000])
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data))
        data[at : at + random.randint(0, 2)] = bytes([random.choice(b'{}[]",:.-0189 eE\\\n\r\x00\x7f\xc3n')])
    check_same(bytes(data))


@settings(max_examples=150)
@given(
    st.lists(
        st.from_regex(
            r"\A(20[0-9]{2}|0001|9999|1970)-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,9})?"
            r"(Z|z|[+-][0-2][0-9]:?[0-6][0-9]|)\Z"
        )
        | TEXTS,
        min_size=1,
        max_size=6,
    )
)
def test_a_time_is_what_the_decoder_takes_it_for(texts: list[str]) -> None:
    check_same(b"\n".join(with_look(time=t, time_received=t) for t in texts))


def test_every_day_of_four_years_and_of_a_century_without_leap_day() -> None:
    first = datetime(2023, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    days = [first + timedelta(days=k) for k in range(1500)]
    days += [datetime(2100, 2, 20, tzinfo=UTC) + timedelta(days=k) for k in range(20)]
    batch, _, _ = quickly(b"\n".join(line_of(look(time=t)) for t in days))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert batch.looks["time_us"].tolist() == [(t - epoch) // timedelta(microseconds=1) for t in days]


def test_a_look_that_the_encoder_rejects_is_named_by_its_place_among_those_given() -> None:
    rows = [b"nonsense", with_look(), with_detection(domain="AIR"), with_look(time="2260-01-01T00:00:00Z"), with_look()]
    (block,) = read_look_blocks(io.BytesIO(b"\n".join(rows) + b"\n"), encoder())
    assert [(r.look, r.detection, r.field) for r in block.batch.rejected] == [(1, 0, "domain"), (2, -1, "time")]
    assert block.numbers.tolist() == [2, 3, 4, 5] and [r.line for r in block.rejects] == [1]
    assert [block.record(i) for i in range(4)] == rows[1:]
    assert len(block.batch) == 3 and block.batch.given == 4


def test_many_records_of_one_block_come_back_as_they_were_read() -> None:
    rows = [line_of(report(k), thin=k % 2 == 0) for k in range(200)]
    rows[7] = with_look(look_id="\u00e9")
    blocks = list(read_look_blocks(io.BytesIO(b"\r\n".join(rows)), encoder(), 10_000))
    assert len(blocks) > 3
    assert [b.record(i) for b in blocks for i in range(b.batch.given)] == rows


def test_nothing_gives_nothing() -> None:
    assert list(read_look_blocks(io.BytesIO(b""), encoder())) == []
    batch, rejects, _ = quickly(b"\n\n\r\r\n")
    assert len(batch) == 0 and rejects == []


# ---------------------------------------------------------------- whole lines


@settings(max_examples=300)
@given(
    st.binary(max_size=80).map(lambda b: b.translate(bytes(b"ab\n\r"[k % 4] for k in range(256)))), st.integers(1, 30)
)
def test_whole_lines_are_the_lines(data: bytes, size: int) -> None:
    got: list[tuple[int, bytes]] = []
    for number, text in whole_lines(io.BytesIO(data), size):
        assert text is not None and text.endswith(b"\n") and b"\r" not in text
        got += [(number + i, line) for i, line in enumerate(text[:-1].split(b"\n"))]
    assert got == list(lines(io.BytesIO(data)))


@pytest.mark.parametrize("size", [1, 3, 7, 9])
def test_a_line_that_is_too_long_comes_alone(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module in ("feeds.base", "replay.looks_columns"):
        monkeypatch.setattr(f"apss_fusion.{module}.MAX_LINE_BYTES", 9)
    data = b"short\n" + b"x" * 9 + b"\n" + b"y" * 10 + b"\nmore\n" + b"z" * 40
    got: list[tuple[int, bytes | None]] = []
    for number, text in whole_lines(io.BytesIO(data), size):
        parts: list[bytes | None] = [None] if text is None else list(text[:-1].split(b"\n"))
        got += [(number + i, line) for i, line in enumerate(parts)]
    expected = [(1, b"short"), (2, b"x" * 9), (3, None), (4, b"more"), (5, None)]
    assert got == expected


def test_a_line_that_is_too_long_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.replay.looks_columns.MAX_LINE_BYTES", 3000)
    data = line_of(report(1)) + b"\n" + b"x" * 5000 + b"\n" + line_of(report(2)) + b"\n"
    batch, rejects, numbers = quickly(data, 1024)
    assert [batch.look_id(i) for i in range(2)] == ["r1", "r2"] and numbers == [1, 3]
    assert [(r.line, r.reason, r.record) for r in rejects] == [(2, "the line is too long", None)]


class Failing(io.BytesIO):
    """A stream that breaks after its bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise OSError("gone")
        return data


def test_what_was_read_before_a_failure_is_given() -> None:
    data = line_of(report(1)) + b"\n" + line_of(report(2)) + b"\n" + line_of(report(3))
    got: list[LookBlock] = []
    with pytest.raises(OSError, match="gone"):
        for block in read_look_blocks(Failing(data), encoder()):
            got.append(block)
    assert [b.batch.look_id(i) for b in got for i in range(len(b.batch))] == ["r1", "r2"]


# ---------------------------------------------------------------- numbers


def number_in(text: str) -> tuple[float, int]:
    return read_number(np.frombuffer(text.encode() + b"\n" + bytes(PADDING), np.uint8), 0)


@settings(max_examples=500)
@given(
    st.floats(-1e6, 1e6) | st.floats(-200, 200) | st.decimals(-1000, 1000, places=7) | st.integers(-(10**20), 10**20)
)
def test_a_number_is_the_nearest_float_or_left_to_the_library(value: object) -> None:
    text = str(value)
    got, after = number_in(text)
    if after >= 0:
        assert got == float(text) and math.copysign(1, got) == math.copysign(1, float(text)) and after == len(text)
    else:
        assert "e" in text.lower() or not 1e-4 < abs(float(text)) < 2**53 or len(text) > 18


@settings(max_examples=300)
@given(st.integers(2**52, 2**53 - 2), st.integers(46, 52), st.integers(-1, 1))
def test_also_next_to_the_middle_between_two_floats(mantissa: int, down: int, beside: int) -> None:
    # The middle is exact in decimal, too long to be plain; the nearest decimals of 17 digits lie to either side.
    middle = Fraction(2 * mantissa + 1, 2 ** (down + 1))
    whole = len(str(int(middle)))
    scaled = int(middle * 10 ** (17 - whole)) + beside
    text = str(scaled)[:whole] + "." + str(scaled)[whole:]
    got, after = number_in(text)
    assert after < 0 or got == float(text)


def test_common_numbers_are_read_quickly() -> None:
    generator = random.Random(5)
    texts = [repr(generator.uniform(-180, 180)) for _ in range(3000)]
    texts += [repr(12.3 * 0.514444), "0.1", "0", "-0", "-0.0", "100", "2500.0", "1e3"[:1], "0.000125"]
    left = [t for t in texts if number_in(t)[1] != len(t)]
    assert len(left) < 30
    assert all(number_in(t)[0] == float(t) for t in texts if t not in left)


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "5.", "+5", "05", "-01", "1e5", "1E5", "1.5e-3", "NaN", "Infinity", "--1", "x"]
)
def test_what_is_no_plain_number_is_left(text: str) -> None:
    assert number_in(text)[1] == -1


def test_a_rejection_is_ordered_by_look_and_detection() -> None:
    assert sorted([Rejection(1, 0, "b", ""), Rejection(0, 5, "a", ""), Rejection(1, -1, "c", "")])[1].detection == -1


def test_an_encoder_may_serve_several_readers() -> None:
    e: Encoder = encoder()
    data = b"\n".join(line_of(report(k)) for k in range(3))
    first, second = (next(read_look_blocks(io.BytesIO(data), e)).batch for _ in range(2))
    assert first.looks.tobytes() == second.looks.tobytes() and first.detections.tobytes() == second.detections.tobytes()

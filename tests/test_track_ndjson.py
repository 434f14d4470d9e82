"""Updates as lines of JSON, against the standard library, and the files that they go to."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import resource
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_updates import WEIRD, engine_tables, expected, look_batch, random_updates

from apss_fusion.model import TrackUpdate
from apss_fusion.outputs import json_text, line_file, open_track_writer
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.rows import CONTRIBUTOR, EVIDENCE
from apss_fusion.tracking.updates import NULL

NUMBER = re.compile(rb"-?(0|[1-9]\d*)\.(0|\d*[1-9])")


def lines_of(data: bytes | memoryview) -> list[bytes]:
    """Lines without their newlines; there is nothing after the last."""
    *lines, rest = bytes(data).split(b"\n")
    assert rest == b""
    return lines


def written(put: object, *values: object, room: int = 64) -> bytes:
    """What a kernel puts."""
    out = np.full(room, 0xFF, np.uint8)
    end = put(out, 3, *values)
    assert (out[:3] == 0xFF).all()
    # Zeros that were cut may be left behind the end.
    assert np.isin(out[end:], [0xFF, ord("0")]).all()
    return out[3:end].tobytes()


# ------------------------------------------------------------------ values


@given(st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.integers(-1000, 1000)), st.integers(1, 12))
def test_decimal(scaled: int, decimals: int) -> None:
    text = written(json_text.put_decimal, scaled, decimals)
    assert NUMBER.fullmatch(text)
    assert text != b"-0.0"
    assert json.loads(text) == scaled / 10**decimals


def test_decimal_by_hand() -> None:
    got = [written(json_text.put_decimal, v, d) for v, d in ((0, 7), (-1, 7), (10, 1), (-1205, 2), (1, 12), (NULL, 3))]
    assert got == [b"0.0", b"-0.0000001", b"1.0", b"-12.05", b"0.000000000001", b"null"]


@given(st.integers(-(2**62), 2**62))
def test_integer(v: int) -> None:
    assert written(json_text.put_integer, v) == str(v).encode()


@given(st.integers(-(10**15), 8_835_000_000_000_000))
def test_time(us: int) -> None:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    text = written(json_text.put_time, us)
    assert text == b'"%b"' % time.isoformat(timespec="microseconds").replace("+00:00", "Z").encode()
    assert msgspec.json.decode(text, type=datetime) == time


@given(st.text())
def test_escaped(text: str) -> None:
    coded = np.frombuffer(b"<" + text.encode() + b">", np.uint8)
    n = len(coded) - 2
    inside = written(json_text.put_escaped, coded, 1, n, room=8 + json_text.ESCAPED_MOST * n)
    assert json.loads(b'"%b"' % inside) == text
    assert not any(c < 32 for c in inside)


def test_every_control_character_is_escaped_as_json_does() -> None:
    text = "".join(map(chr, range(128)))
    coded = np.frombuffer(text.encode(), np.uint8)
    assert (
        written(json_text.put_escaped, coded, 0, 128, room=600) == json.dumps(text, ensure_ascii=False)[1:-1].encode()
    )


# ------------------------------------------------------------------ lines


def test_a_line_by_hand() -> None:
    batch = random_updates(1, 1, None, look_batch(['look "1"'], ["5d\n"]))
    batch = replace(batch, evidence=np.zeros(1, EVIDENCE), contributors=np.zeros(1, CONTRIBUTOR))
    row = batch.rows[0]
    state, belief = row["state"], row["belief"]
    lat, lon = np.radians([50.7712345, -1.2998765])
    state["x"], state["y"], state["z"] = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    state["a"], state["b"] = -0.26, -6.2
    for name, v in zip(
        ("ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb"),
        (900.0, 12.0, 3.1, 0.0, 870.0, 0.2, 2.9, 0.05, 0.001, 1.25e-5),
        strict=True,
    ):
        state[name] = v
    row["altitude"]["hh"] = 0.0
    belief["r"], belief["length_m"], belief["width_m"], belief["domain"] = 0.999, 180.0, np.nan, 0
    belief["attributes"] = batch.attributes.number({"mmsi": "235012345"}, {"cargo": 0.9})
    belief["seen"], row["time_us"], row["revised_us"] = 1767226200.0, 1767226200000000, -1
    row["seq"], row["detections"], row["status"], row["reason"], row["flags"] = 7, 41, 1, 0, 1
    row["look"], row["evidence_n"], row["contributors_n"], row["sources"] = 0, 1, 1, 1
    batch.evidence["weight"][0], batch.evidence["detection"][0] = 1.0, 0
    batch.contributors["source"][0], batch.contributors["n"][0] = 0, 40
    batch.contributors["last"][0] = 1767226199.5
    batch.track_ids[0] = range(16)
    assert bytes(encode(batch)).decode() == (
        '{"track_id":"00010203-0405-0607-0809-0a0b0c0d0e0f","seq":7,"status":"CONFIRMED","end_reason":null,'
        '"revised_from":null,"time":"2026-01-01T00:10:00.000000Z","time_last_detection":"2026-01-01T00:10:00.000000Z",'
        '"domain":"SEA","lat":50.7712345,"lon":-1.2998765,"alt_m":null,"alt_sigma_m":null,"alt_datum":null,'
        '"speed_mps":6.21,"course_deg":182.4,"v_enu_mps":[-0.26,-6.2,null],'
        '"cov_enu":[900.0,12.0,3.1,0.0,870.0,0.2,2.9,0.05,0.001,0.0000125],'
        '"ellipse95":{"semi_major_m":73.6,"semi_minor_m":72.0,"orientation_deg":70.7},"existence_prob":0.999,'
        '"ids":{"mmsi":"235012345"},"class_probs":{"cargo":0.9},"length_m":180.0,"width_m":null,"n_detections":41,'
        '"contributors":[{"source_id":"ais","nation":"NOR","modality":"AIS","n":40,'
        '"last":"2026-01-01T00:09:59.500000Z"}],'
        '"evidence":[{"look_id":"look \\"1\\"","detection_id":"5d\\n","weight":1.0}],"h3":"871959060ffffff",'
        '"flags":["id_conflict"],'
        '"marking":{"classification":"UNCLASSIFIED","releasable_to":["LUX","USA"],"caveats":["EXERCISE"]}}\n'
    )


@pytest.mark.parametrize("seed", range(5))
def test_lines_are_as_the_reference_says(seed: int) -> None:
    batch = random_updates(seed, 200)
    lines = lines_of(encode(batch))
    assert len(lines) == len(batch)
    for i, line in enumerate(lines):
        got = json.loads(line)
        assert got == expected(batch, i)
        assert tuple(got) == TrackUpdate.__struct_fields__
        assert not any(c < 32 for c in line)
        assert b"-0.0," not in line


@pytest.mark.parametrize("seed", range(5, 10))
def test_structs_equal_their_lines(seed: int) -> None:
    batch = random_updates(seed, 200)
    for update, line in zip(batch, lines_of(encode(batch)), strict=True):
        assert msgspec.json.decode(line, type=TrackUpdate) == update


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_text(look_id: str, detection_id: str, ids: dict[str, str]) -> None:
    tables = TABLES
    batch = random_updates(1, 2, tables, look_batch([look_id], [detection_id]))
    batch.rows["look"] = 0
    batch.rows["belief"]["attributes"] = tables[0].number(ids, None)
    batch.rows["evidence"], batch.rows["evidence_n"] = 0, len(batch.evidence)
    for line, update in zip(lines_of(encode(batch)), batch, strict=True):
        got = json.loads(line)
        assert got["ids"] == ids == update.ids
        assert all(e["look_id"] == look_id and e["detection_id"] == detection_id for e in got["evidence"])
        assert msgspec.json.decode(line, type=TrackUpdate) == update


TABLES = engine_tables(np.random.default_rng(0))


def test_lines_do_not_depend_on_the_batch() -> None:
    batch = random_updates(3, 60)
    every = bytes(encode(batch))
    assert b"".join(bytes(encode(batch[k : k + 1])) for k in range(60)) == every
    assert bytes(encode(batch)) == every
    assert encode(batch[:0]).nbytes == 0


def test_read_only_text() -> None:
    batch = random_updates(3, 10)
    every = bytes(encode(batch))
    batch.batch.text.flags.writeable = False
    assert bytes(encode(batch)) == every


def test_the_longest_numbers_and_ids_have_room() -> None:
    batch = random_updates(2, 50, None, look_batch(["\x01" * 500], ["\x02" * 300 + "é"]))
    rows = batch.rows
    for name in ("a", "b", "ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb"):
        rows["state"][name] = -1e150 if len(name) == 1 else 1e150
    rows["altitude"]["h"], rows["altitude"]["hh"] = -1.23456789e13, 1e300
    rows["look"], rows["evidence"], rows["evidence_n"] = 0, 0, len(batch.evidence)
    rows["seq"] = rows["detections"] = 2**31 - 1
    rows["status"], rows["reason"], rows["flags"], rows["belief"]["length_m"] = 3, 2, 3, 1e30
    for line in lines_of(encode(batch)):
        update = msgspec.json.decode(line, type=TrackUpdate)
        assert len(update.evidence) == len(batch.evidence)
        bare = msgspec.structs.replace(update, evidence=(), contributors=(), ids={}, class_probs={})
        assert len(msgspec.json.encode(bare)) < 1536


def test_what_is_not_finite_is_null() -> None:
    batch = random_updates(2, 3)
    batch.rows["state"]["a"], batch.rows["state"]["ee"] = np.nan, np.inf
    batch.rows["belief"]["r"] = -np.inf
    for line in lines_of(encode(batch)):
        got = json.loads(line, parse_constant=lambda name: pytest.fail(name))
        assert got["speed_mps"] is got["v_enu_mps"][0] is got["existence_prob"] is got["cov_enu"][0] is None


# ------------------------------------------------------------------ files

CUTS = st.lists(st.integers(0, 40), max_size=6).map(lambda cuts: [0, *sorted(cuts), 40])
BATCH = random_updates(6, 40)
EVERY = bytes(encode(BATCH))


@given(CUTS, st.lists(st.booleans(), min_size=7, max_size=7), st.sampled_from(["t.ndjson", "t.ndjson.gz"]))
def test_any_parts_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], flush: list[bool], name: str
) -> None:
    path = tmp_path_factory.mktemp("parts") / name
    with open_track_writer(path) as writer:
        for k, (start, stop) in enumerate(pairwise(cuts)):
            writer.write(BATCH[start:stop])
            if flush[k]:
                writer.flush()
                assert read(path) == bytes(encode(BATCH[:stop]))
            lines_of(read(path))
    writer.close()
    assert read(path) == EVERY


def read(path: Path) -> bytes:
    """The text of a file, which must be whole."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def test_large_batches_are_written_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.outputs.track_ndjson._AT_ONCE", 7)
    with open_track_writer(tmp_path / "t") as writer:
        writer.write(BATCH)
    assert read(tmp_path / "t") == EVERY


def test_an_empty_compressed_file_is_one(tmp_path: Path) -> None:
    with open_track_writer(str(tmp_path / "t.gz")):
        pass
    assert (tmp_path / "t.gz").read_bytes().startswith(b"\x1f\x8b")
    assert read(tmp_path / "t.gz") == b""


def test_compressed_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "_MEMBER", 1000)
    path = tmp_path / "t.gz"
    with LineFile(path) as file:
        for k in range(200):
            file.write(b"%d\n" % k * 10)
            lines_of(gzip.decompress(path.read_bytes()) if path.stat().st_size else b"")
    assert path.read_bytes().count(b"\x1f\x8b\x08\0\0\0\0\0") > 3
    assert read(path) == b"".join(b"%d\n" % k * 10 for k in range(200))


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_track_writer("-") as writer:
        writer.write(BATCH[:30])
        writer.write(BATCH[30:])
    print("still open")
    assert capfdbinary.readouterr().out == EVERY + b"still open\n"


def test_standard_output_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer))
    with open_track_writer("-") as writer:
        writer.write(BATCH)
    assert buffer.getvalue() == EVERY


def test_standard_output_that_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"before\n")
    # As the shell's ">>" opens it: its position is 0 until the first write.
    with open(os.open(path, os.O_WRONLY | os.O_APPEND), "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with LineFile("-") as file, file_size_limit(17), pytest.raises(OSError, match="large"):
            file.write(b"one\ntwo\nthree\n")
    assert path.read_bytes() == b"before\none\ntwo\n"


def test_files_are_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"x" * 100_000)
    with LineFile(path) as file:
        file.write(b"a\n")
    assert path.read_bytes() == b"a\n"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size`: a disk that is full part way through a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [1, 999, 5000, len(EVERY) - 1])
def test_a_full_disk_leaves_whole_lines(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "t"
    with pytest.raises(OSError) as caught, open_track_writer(path) as writer, file_size_limit(limit):
        writer.write(BATCH)
    assert caught.value.errno == errno.EFBIG
    kept = path.read_bytes()
    assert kept == EVERY[: EVERY.rfind(b"\n", 0, limit) + 1]


def test_a_full_disk_leaves_whole_members(tmp_path: Path) -> None:
    path = tmp_path / "t.gz"
    with pytest.raises(OSError), open_track_writer(path) as writer:
        writer.write(BATCH[:10])
        writer.flush()
        with file_size_limit(path.stat().st_size + 100):
            writer.write(BATCH[10:])
            writer.flush()
    assert read(path) == bytes(encode(BATCH[:10]))


def test_a_full_device() -> None:
    with pytest.raises(OSError) as caught, open_track_writer("/dev/full") as writer:
        writer.write(BATCH)
    assert caught.value.errno == errno.ENOSPC


class Interrupted(io.FileIO):
    """A file whose second write is interrupted after 1500 bytes."""

    writes = 0

    def write(self, data: memoryview) -> int:
        self.writes += 1
        if self.writes == 2:
            super().write(data[:1500])
            raise KeyboardInterrupt
        return super().write(data)


@pytest.mark.parametrize("name", ["t", "t.gz"])
def test_an_interrupt_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("apss_fusion.outputs.line_file.open", lambda p, *_, **__: Interrupted(p, "wb"), raising=False)
    path = tmp_path / name
    with pytest.raises(KeyboardInterrupt), open_track_writer(path) as writer:
        for start in range(0, 40, 20):
            writer.write(BATCH[start : start + 20])
            writer.flush()
    assert EVERY.startswith(read(path))
    assert len(lines_of(read(path))) == (20 if name == "t.gz" else 21)


@pytest.mark.parametrize("path", ["no/such/folder/t", "."])
def test_what_cannot_be_opened(tmp_path: Path, path: str) -> None:
    for ending in ("", ".gz", ".parquet", ".arrow"):
        with pytest.raises(OSError):
            open_track_writer(f"{tmp_path}/{path}{ending}" if path != "." else tmp_path)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 6000), max_size=8))
def test_portions(lengths: list[int]) -> None:
    text = b"".join(b"x" * n + b"\n" for n in lengths)
    portions = [bytes(p) for p in line_file._portions(memoryview(text))]
    assert b"".join(portions) == text
    assert all(p.endswith(b"\n") and (len(p) <= select.PIPE_BUF or p.count(b"\n") == 1) for p in portions)


def test_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    end, start = os.pipe()
    got: list[bytes] = []
    with open(end, "rb") as pipe, open(start, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        reader = threading.Thread(target=lambda: got.append(pipe.read(len(EVERY))))
        reader.start()
        with open_track_writer("-") as writer:
            writer.write(BATCH)
        reader.join()
        assert got == [EVERY]
        pipe.close()
        with pytest.raises(BrokenPipeError), open_track_writer("-") as writer:
            writer.write(BATCH)


def test_a_pipe_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    end, start = os.pipe()
    os.set_blocking(start, False)
    with open(end, "rb") as pipe, open(start, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(BlockingIOError), open_track_writer("-") as writer:
            writer.write(random_updates(1, 400))
        lines_of(os.read(pipe.fileno(), 1 << 20))


def test_weird_ids_are_among_the_random_ones() -> None:
    batch = random_updates(0, 200)
    ids = {e.detection_id[: len(w)] for update in batch for e in update.evidence for w in WEIRD if w}
    assert set(WEIRD) - {""} <= ids

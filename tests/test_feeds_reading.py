"""Inputs: opened, decompressed, recognised and accounted for, and what happens when they are bad."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.feeds import reading, registry
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used, lines
from apss_fusion.feeds.reading import FeedReader, InputError, dead_letter, open_input, read_looks
from apss_fusion.model import Detection, Look, Source

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def look(look_id: str) -> Look:
    return Look(look_id=look_id, source_id="words", time=NOON, detections=(Detection(detection_id="1", lat=1, lon=2),))


class Words(Decoder):
    """A line a record, whose first letter says what becomes of it."""

    name = "words"
    title = "Words for tests"
    source = Source(modality="OTHER")

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(b"words\n")

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        for number, line in lines(stream):
            match line[:1] if line else None:
                case None:
                    continue
                case b"l":
                    yield look(line.decode())
                case b"s":
                    yield Reject("bad detection", "lat", number, line, is_record=False)
                    yield Decoded(look(line.decode()), records=3)
                case b"u":
                    yield Used()
                case b"i":
                    yield Ignored("nothing in it", records=2)
                case b"b":
                    raise ZeroDivisionError("a bug in the decoder")
                case b"w":
                    pass
                case _:
                    yield Reject("no word", None, number, line)


class Whole(Decoder):
    """A document that is read as a whole."""

    name = "whole"
    title = "One record for tests"
    source = Source(modality="OTHER")

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        return head.startswith(b"[")

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        yield look(f"{len(stream.read())} bytes")


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two formats of this test instead of the built-in ones."""
    for module in (registry, reading):
        monkeypatch.setattr(module, "decoders", lambda: (Whole, Words))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class Trickle(io.RawIOBase):
    """A raw stream that hands its bytes out in blocks of given sizes, then fails if told to."""

    def __init__(self, content: bytes, sizes: list[int] | None = None, failure: Exception | None = None) -> None:
        self._content = content
        self._sizes = iter(sizes or [])
        self._failure = failure

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = min(len(buffer), next(self._sizes, len(buffer)), len(self._content))
        if not size and self._failure is not None:
            raise self._failure
        buffer[:size] = self._content[:size]
        self._content = self._content[size:]
        return size


# --- opening ---


def test_a_gzip_file_is_told_by_content_under_any_name(tmp_path: Path) -> None:
    for name in ("a.gz", "a.GZ", "a.csv"):
        with open_input(
            write(tmp_path / name, gzip.compress(b"some", mtime=0) + gzip.compress(b" words", mtime=0))
        ) as source:
            assert source.is_gzip
            assert source.peek(3) == b"som"
            assert source.stream.read() == b"some words"
    with open_input(write(tmp_path / "twice.gz", gzip.compress(gzip.compress(b"words", mtime=0)))) as source:
        assert source.stream.read() == b"words"
    with open_input(write(tmp_path / "plain", b"\x1f words")) as source:
        assert not source.is_gzip
        assert source.stream.read() == b"\x1f words"


@given(content=st.binary(max_size=300), sizes=st.lists(st.integers(1, 40)), size=st.integers(0, 400))
def test_peeking_takes_nothing_away_however_slowly_the_bytes_come(content: bytes, sizes: list[int], size: int) -> None:
    content = b"-" + content
    source = reading.Input("name", io.BufferedReader(Trickle(content, sizes)))
    assert source.peek(size) == content[:size]
    assert source.stream.read(7) + source.stream.readline() + source.stream.read() == content


def test_what_is_not_there_or_no_file_has_status_2(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "null")):
        with pytest.raises(InputError, match=reason) as caught:
            FeedReader(path)
        assert caught.value.status == 2
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_has_status_2(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", b"words\n")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied") as caught:
        FeedReader(path)
    assert caught.value.status == 2


def test_a_name_in_gz_without_gzip_content_has_status_2(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"words\.gz: its name ends in \.gz, but") as caught:
        open_input(write(tmp_path / "words.gz", b"words\nlook\n"))
    assert caught.value.status == 2


@pytest.mark.usefixtures("formats")
def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"words\nlook\n", gzip.compress(b"words\nlook\n", mtime=0)):
        buffer = io.BufferedReader(Trickle(content, [1, 1, 2]))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
        assert [found.look_id for found in read_looks("-")] == ["look"]
        assert not buffer.closed
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="-: standard input is closed"):
        open_input("-")


# --- faults part way ---


def random_lines(count: int) -> bytes:
    """Lines that do not compress to nothing."""
    return b"".join(b"l%x\n" % zlib.crc32(b"%d" % number) for number in range(count))


@pytest.mark.usefixtures("formats")
@settings(max_examples=25)
@given(share=st.floats(0.01, 0.99))
def test_all_before_the_cut_of_a_truncated_gzip_file_is_good(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = b"words\n" + random_lines(30_000)
    packed = gzip.compress(content, mtime=0)
    packed = packed[: max(10, int(len(packed) * share))]
    readable = zlib.decompressobj(wbits=31).decompress(packed)
    whole_lines = readable[: readable.rfind(b"\n") + 1].splitlines()[1:]
    path = write(tmp_path_factory.mktemp("cut") / "feed.gz", packed)
    found = []
    with pytest.raises(InputError, match="ended before the end-of-stream marker") as caught:
        found.extend(looked.look_id for looked in read_looks(path, "words"))
    assert caught.value.status == 1
    assert caught.value.name == str(path)
    assert found == [line.decode() for line in whole_lines]


@pytest.mark.usefixtures("formats")
def test_a_truncated_gzip_file_within_an_intact_one(tmp_path: Path) -> None:
    inner = gzip.compress(b"words\n" + random_lines(1000))
    path = write(tmp_path / "feed.gz.gz", gzip.compress(inner[: len(inner) // 2]))
    reader = FeedReader(path)
    with pytest.raises(InputError, match="end-of-stream") as caught:
        list(reader.items())
    assert caught.value.status == 1
    assert reader.records_used > 100


@pytest.mark.usefixtures("formats")
def test_a_damaged_gzip_file_fails_part_way(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"words\n" + random_lines(30_000)))
    wrong_sum = packed[:-8] + bytes(8)
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) // 2)
    for content, least in ((packed, 1), (wrong_sum, 30_000)):
        reader = FeedReader(write(tmp_path / "feed.gz", bytes(content)))
        with pytest.raises(InputError) as caught:
            list(reader.items())
        assert caught.value.status == 1
        assert reader.records_used >= least


@pytest.mark.usefixtures("formats")
def test_a_gzip_file_of_which_nothing_can_be_read_fails_with_status_1(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="end-of-stream") as caught:
        FeedReader(write(tmp_path / "feed.gz", gzip.compress(b"words\n", mtime=0)[:5]))
    assert caught.value.status == 1


@pytest.mark.usefixtures("formats")
def test_a_failing_disk_fails_with_status_1_after_what_was_read() -> None:
    failure = OSError(5, "Input/output error")
    content = b"words\n" + b"look\n" * 30_000 + b"lo"
    source = reading.Input("disk", io.BufferedReader(Trickle(content, failure=failure)))
    found = []
    with pytest.raises(InputError, match="disk: Input/output error") as caught:
        found.extend(Words().items(source.stream))
    assert caught.value.status == 1
    assert len(found) == 30_000  # the cut line is not taken for one


@pytest.mark.usefixtures("formats")
def test_a_document_that_cannot_be_read_to_its_end_is_no_document(tmp_path: Path) -> None:
    packed = gzip.compress(b"[" + random_lines(1000))
    reader = FeedReader(write(tmp_path / "feed.gz", packed[:-100]))
    with pytest.raises(InputError):
        list(reader.items())
    assert reader.records_in == 0


def test_a_decoder_that_takes_a_fault_for_the_end_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Packets(Words):
        def items(self, stream: BinaryIO) -> Iterator[Item]:
            while len(packet := stream.read(16)) == 16:
                yield look(packet.hex())

    monkeypatch.setattr(reading, "decoder_named", lambda _name: Packets)
    content = b"".join(zlib.crc32(b"%d" % number).to_bytes(4, "big") for number in range(4000))
    packed = next(  # cut so that the last packet is not whole
        cut
        for size in range(8000, 8100)
        if len(zlib.decompressobj(wbits=31).decompress(cut := gzip.compress(content)[:size])) % 16
    )
    reader = FeedReader(write(tmp_path / "feed.gz", packed), "packets")
    with pytest.raises(InputError, match="end-of-stream"):
        list(reader.items())
    assert reader.records_used > 100


@pytest.mark.parametrize("how", ["read", "read1", "readinto", "readline", "iterate", "text"])
def test_no_way_of_reading_takes_a_fault_for_the_end(how: str) -> None:
    source = reading.Input("disk", io.BufferedReader(Trickle(b"one\ntwo\nthr", failure=OSError(5, "broken"))))
    stream = source.stream
    found = bytearray()
    room = bytearray(4)

    def read_all() -> None:
        match how:
            case "read" | "read1":
                while block := getattr(stream, how)(4):
                    found.extend(block)
            case "readinto":
                while size := stream.readinto(room):  # type: ignore[attr-defined]
                    found.extend(room[:size])
            case "readline":
                while line := stream.readline():
                    found.extend(line)
            case "iterate":
                for line in stream:
                    found.extend(line)
            case "text":
                for text in io.TextIOWrapper(stream, encoding="utf-8"):
                    found.extend(text.encode())

    with pytest.raises(InputError, match="disk: broken"):
        read_all()
    assert bytes(found) == (b"one\ntwo\nthr" if how.startswith("read") and how != "readline" else b"one\ntwo\n")


# --- reading feeds ---


@pytest.mark.usefixtures("formats")
def test_every_record_is_accounted_for(tmp_path: Path) -> None:
    path = write(tmp_path / "feed", b"words\nlook\n\nscene\nused\nignored\n?\nlook2")
    reader = FeedReader(path)
    items = list(reader.items())
    assert isinstance(reader.decoder, Words)
    assert len(items) == 7
    assert reader.records_used == 1 + 3 + 1 + 1
    assert reader.records_ignored == 2
    assert reader.dead_letters == 1
    assert reader.detections_rejected == 1
    assert reader.records_in == reader.records_used + reader.records_ignored + reader.dead_letters
    assert [found.look_id for found in read_looks(path)] == ["look", "scene", "look2"]


@pytest.mark.usefixtures("formats")
def test_counts_include_the_item_just_given(tmp_path: Path) -> None:
    reader = FeedReader(write(tmp_path / "feed", b"words\nlook\nlook\n"))
    assert [reader.records_in for _ in reader.items()] == [1, 2]


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), gzip.compress(b"\n", mtime=0)]
)
def test_an_empty_file_gives_nothing(tmp_path: Path, content: bytes) -> None:
    reader = FeedReader(write(tmp_path / "feed", content))
    assert list(reader.items()) == []
    assert reader.decoder is None
    assert reader.records_in == 0
    named = FeedReader(tmp_path / "feed", "words")
    assert isinstance(named.decoder, Words)
    assert [item for item in named.items() if not isinstance(item, Reject)] == []


def test_an_empty_gz_file_gives_nothing(tmp_path: Path) -> None:
    assert list(read_looks(write(tmp_path / "empty.csv.gz", b""))) == []


@pytest.mark.usefixtures("formats")
def test_an_unknown_format_has_status_2_and_names_those_known(tmp_path: Path) -> None:
    noise = write(tmp_path / "noise", bytes(range(256)) * 1000)
    with pytest.raises(InputError) as caught:
        FeedReader(noise)
    assert caught.value.status == 2
    assert str(caught.value) == f"{noise}: no known format; --format NAME takes one of whole, words"
    with pytest.raises(InputError, match="no format 'letters': --format NAME takes one of whole, words") as caught:
        FeedReader(noise, "letters")
    assert caught.value.status == 2


@pytest.mark.usefixtures("formats")
def test_noise_in_a_format_that_was_named_is_dead_letters(tmp_path: Path) -> None:
    reader = FeedReader(write(tmp_path / "noise", b"\x00\xff\n\x80\n"), "words")
    assert [type(item) for item in reader.items()] == [Reject, Reject]
    assert reader.dead_letters == reader.records_in == 2


@pytest.mark.usefixtures("formats")
def test_a_bug_in_a_decoder_is_not_hidden(tmp_path: Path) -> None:
    reader = FeedReader(write(tmp_path / "feed", b"words\nlook\nbug\n"))
    with pytest.raises(ZeroDivisionError):
        list(reader.items())
    assert reader.records_in == 1


@pytest.mark.usefixtures("formats")
def test_a_reader_that_is_left_early_closes_its_file(tmp_path: Path) -> None:
    reader = FeedReader(write(tmp_path / "feed", b"words\nlook\nlook\n"))
    items = reader.items()
    next(items)
    items.close()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="closed"):
        reader.input._file.read()


# --- dead letters ---


def test_a_dead_letter_quotes_its_record_readably() -> None:
    reject = Reject("no latitude", "lat", 7, b"caf\xc3\xa9 \xff\x00")
    letter = dead_letter(reject, "feed.csv")
    assert (letter.file, letter.line, letter.reason, letter.field) == ("feed.csv", 7, "no latitude", "lat")
    assert letter.record == "café \\xff\x00"
    assert dead_letter(Reject("too long", None, 1, None), "f").record is None
    assert dead_letter(Reject("odd text", None, 1, "\udcff"), "f").record == "\\udcff"


@given(
    st.binary() | st.text() | st.text(st.characters(min_codepoint=0x10000), min_size=1).map(lambda text: text * 5000)
)
def test_a_dead_letter_is_cut_and_can_be_written(record: bytes | str) -> None:
    letter = dead_letter(Reject("bad", None, None, record), "f")
    whole = record.decode("utf-8", "backslashreplace") if isinstance(record, bytes) else record
    assert letter.record == whole[:4096]
    assert msgspec.json.decode(msgspec.json.encode(letter))["record"] == letter.record

"""Runs that are saved and resumed, or stopped and continued, write together what one run writes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pipeline_runs import SOURCES, Run, accounted, feed, lines, look, nmea, run, small_chunks, write

from apss_fusion.replay import state_file
from apss_fusion.replay.pipeline_outputs import RunError

#: What is counted of records: the parts of a run add up to the whole.
COUNTED = (
    "records_in",
    "records_used",
    "duplicates",
    "late",
    "dead_letters",
    "looks",
    "detections",
    "detections_rejected",
)
BAD = lines([look("bad", "ais", 50.0, {"lat": 95.0, "lon": 0.0}, {"lat": 49.0, "lon": 0.0})])
LOOKS = lines(feed())
FEEDS = {"looks": [*LOOKS[:8], b"not json\n", *LOOKS[8:22], *BAD, *LOOKS[22:]], "ais-nmea": nmea()}


both_modes = pytest.mark.parametrize("hold_back", [False, True], ids=["on arrival", "held back"])


def standing(tracks: bytes, others: frozenset[str] = frozenset()) -> set[str]:
    """Tracks that were written as confirmed and not withdrawn since, except some others."""
    out: set[str] = set()
    for update in map(msgspec.json.decode, tracks.splitlines()):
        if update["status"] in ("CONFIRMED", "COASTING"):
            out.add(update["track_id"])
        elif update["end_reason"] == "WITHDRAWN":
            out.discard(update["track_id"])
    return out - others


def whole(folder: Path, rows: list[bytes], **job: Any) -> Run:
    return run(folder, write(folder.parent / "whole", rows), **job)


def assert_together(parts: list[Run], one: Run) -> None:
    assert b"".join(part.tracks for part in parts) == one.tracks
    assert b"".join(part.pictures for part in parts) == one.pictures
    for name in COUNTED:
        assert sum(part.summary[name] for part in parts) == one.summary[name], name
    # What is out of order in the whole is so in its parts.
    furthest = [part.summary["disorder_max_s"] or 0.0 for part in parts]
    assert max(furthest) == (one.summary["disorder_max_s"] or 0.0)
    # In the order in which they were found, which is chunk by chunk.
    reasons = [letter["reason"] for part in parts for letter in part.letters]
    assert sorted(reasons) == sorted(letter["reason"] for letter in one.letters)


def test_the_feeds_have_what_they_should(tmp_path: Path) -> None:
    one = whole(tmp_path / "a", FEEDS["looks"])
    assert one.summary["tracks_confirmed"] >= 5
    assert (one.summary["late"], one.summary["duplicates"], one.summary["dead_letters"]) == (1, 1, 3)
    assert one.summary["detections_rejected"] == 1
    assert one.pictures.count(b"\n") > 5
    two = whole(tmp_path / "b", FEEDS["ais-nmea"])
    assert two.summary["tracks_confirmed"] == 2
    assert (two.summary["records_used"], two.summary["dead_letters"]) == (19, 2)


@both_modes
@pytest.mark.parametrize("format_name", FEEDS)
@pytest.mark.parametrize("tentative", [False, True])
def test_parts_are_the_whole_wherever_it_is_cut(
    tmp_path: Path, format_name: str, tentative: bool, hold_back: bool
) -> None:
    rows = FEEDS[format_name]
    config = {"tentative": tentative, "hold_back": hold_back}
    one = whole(tmp_path / "whole_run", rows, config=config)
    assert one.summary["tracks_confirmed"] == len(standing(one.tracks)) > 0
    state = str(tmp_path / "state")
    for cut in range(0, len(rows) + 1, 3 if tentative else 1):
        first = write(tmp_path / "first", rows[:cut])
        second = write(tmp_path / "second", rows[cut:])
        # A part may be empty, or have nothing to tell its format by.
        a = run(tmp_path / "a", first, save=state, format=format_name, config=config)
        b = run(tmp_path / "b", second, resume=state, format=format_name, config=config)
        assert_together([a, b], one)
        # Each part counts what it confirmed itself.
        assert a.summary["tracks_confirmed"] == len(standing(a.tracks))
        known = {update["track_id"] for update in map(msgspec.json.decode, a.tracks.splitlines())}
        living = standing(a.tracks) if tentative else known
        assert b.summary["tracks_confirmed"] == len(standing(b.tracks, frozenset(living)))
        if hold_back:
            assert a.summary["tracks_confirmed"] + b.summary["tracks_confirmed"] == one.summary["tracks_confirmed"]


def test_three_parts(tmp_path: Path) -> None:
    rows = FEEDS["looks"]
    one = whole(tmp_path / "whole_run", rows)
    state = str(tmp_path / "state")
    parts = [
        run(tmp_path / "a", write(tmp_path / "1", rows[:15]), save=state),
        run(tmp_path / "b", write(tmp_path / "2", rows[15:30]), save=state, resume=state),
        run(tmp_path / "c", write(tmp_path / "3", rows[30:]), resume=state),
    ]
    assert_together(parts, one)


@pytest.mark.parametrize("format_name", FEEDS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_run_that_is_stopped_goes_on_within_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str, packed: bool
) -> None:
    rows = FEEDS[format_name]
    small_chunks(monkeypatch)
    path = tmp_path / "feed.gz" if packed else tmp_path / "feed"
    path.write_bytes(gzip.compress(b"".join(rows)) if packed else b"".join(rows))
    one = run(tmp_path / "whole_run", path)
    state = str(tmp_path / "state")
    after = 0
    while True:
        after += 1
        a = run(tmp_path / "a", path, save=state, after=after)
        if a.outcome.status == 0:
            break
        assert a.outcome.status == 130
        b = run(tmp_path / "b", path, resume=state)
        assert b.outcome.status == 0
        assert b.outcome.warnings == []
        assert_together([a, b], one)
    assert after > 4


def test_a_run_that_is_stopped_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "feed", FEEDS["ais-nmea"])
    small_chunks(monkeypatch)
    one = run(tmp_path / "whole_run", path)
    state = str(tmp_path / "state")
    parts = [
        run(tmp_path / "a", path, save=state, after=2),
        run(tmp_path / "b", path, save=state, resume=state, after=5),
        run(tmp_path / "c", path, resume=state),
    ]
    assert [part.outcome.status for part in parts] == [130, 130, 0]
    assert_together(parts, one)


@pytest.mark.parametrize(("hold_back", "sentences"), [(False, False), (False, True), (True, True)])
def test_stopped_within_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold_back: bool, sentences: bool
) -> None:
    """Of each file something was read and fused, something read and not fused yet, something not read.

    What the decoder of sentences holds at the end of a file comes in the second part. Where looks are fused on arrival this
    is another order of arrival: the same tracks in the end, told of by other updates.
    """
    small_chunks(monkeypatch)
    rows = FEEDS["looks"]
    paths = [write(tmp_path / f"feed{k}", rows[k::3]) for k in range(3)]
    if sentences:
        # It is over before the others are.
        paths.append(write(tmp_path / "names", FEEDS["ais-nmea"][:9]))
    config = {"hold_back": hold_back}
    one = run(tmp_path / "whole_run", *paths, config=config)
    state = str(tmp_path / "state")
    after = 0
    while True:
        after += 1
        a = run(tmp_path / "a", *paths, save=state, after=after, config=config)
        if a.outcome.status == 0:
            break
        b = run(tmp_path / "b", *paths, resume=state, config=config)
        if hold_back or not sentences:
            assert a.tracks + b.tracks == one.tracks
        assert standing(a.tracks + b.tracks) == standing(one.tracks)
        assert a.pictures + b.pictures == one.pictures
        for name in COUNTED:
            assert a.summary[name] + b.summary[name] == one.summary[name], name
    assert after > 8


def test_stopped_in_a_part_that_was_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder of the second part begins with what the first one left, also when it is read again."""
    small_chunks(monkeypatch)
    rows = FEEDS["ais-nmea"]
    one = whole(tmp_path / "whole_run", rows)
    state = str(tmp_path / "state")
    second = write(tmp_path / "2", rows[8:])
    parts = [
        run(tmp_path / "a", write(tmp_path / "1", rows[:8]), save=state),
        run(tmp_path / "b", second, save=state, resume=state, after=2),
        run(tmp_path / "c", second, resume=state),
    ]
    assert parts[1].outcome.status == 130
    assert_together(parts, one)


def test_what_no_input_follows_is_finished(tmp_path: Path) -> None:
    """Half a message at the end of part 1 is a dead letter of part 2, of the file that it stood in."""
    rows = FEEDS["ais-nmea"]
    cut = next(i for i, row in enumerate(rows) if b",2,1,7,B," in row) + 1
    state = str(tmp_path / "state")
    first = write(tmp_path / "first.nmea", rows[:cut])
    a = run(tmp_path / "a", first, save=state)
    b = run(tmp_path / "b", write(tmp_path / "other", lines(feed())[:3]), resume=state)
    unfinished = "the message misses a sentence"
    assert unfinished not in [letter["reason"] for letter in a.letters]
    letters = [letter for letter in b.letters if letter["reason"] == unfinished]
    assert [letter["file"] for letter in letters] == [str(first)] * len(letters)
    assert letters[-1]["line"] == cut
    # Or it is kept for a third part.
    c = run(tmp_path / "c", write(tmp_path / "other", lines(feed())[:3]), resume=state, save=state)
    assert c.letters == []
    d = run(tmp_path / "d", write(tmp_path / "rest", rows[cut:]), resume=state)
    assert unfinished not in [letter["reason"] for letter in d.letters]


def test_the_second_part_of_a_table_has_no_header(tmp_path: Path) -> None:
    header = b"MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading\n"
    rows = [header] + [b"235000001,2026-01-01T00:%02d:00,50.0,-1.0,5.0,0,0\n" % k for k in range(12)]
    one = whole(tmp_path / "whole_run", rows)
    state = str(tmp_path / "state")
    a = run(tmp_path / "a", write(tmp_path / "1", rows[:5]), save=state)
    b = run(tmp_path / "b", write(tmp_path / "2", rows[5:]), resume=state)
    assert_together([a, b], one)
    assert one.summary["tracks_confirmed"] == 1
    with pytest.raises(RunError, match="no known format"):
        run(tmp_path / "c", tmp_path / "2")


def test_the_state_is_replaced_whole(tmp_path: Path) -> None:
    rows = FEEDS["looks"]
    state = tmp_path / "state"
    run(tmp_path / "a", write(tmp_path / "1", rows[:20]), save=str(state))
    saved = state_file.load(str(state))
    assert [one.format for one in saved.inputs] == ["looks"]
    assert all(one.position is None for one in saved.inputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "a", "state"]


def test_other_settings_are_told(tmp_path: Path) -> None:
    rows = FEEDS["looks"]
    state = str(tmp_path / "state")
    run(tmp_path / "a", write(tmp_path / "1", rows[:20]), save=state)
    rest = write(tmp_path / "2", rows[20:])
    assert run(tmp_path / "b", rest, resume=state).outcome.warnings == []
    changed = run(tmp_path / "b", rest, resume=state, config={"lag_s": 5.0})
    assert changed.outcome.warnings == [f"{state}: saved with another configuration or other sources"]
    other = {**SOURCES, "ais": msgspec.structs.replace(SOURCES["ais"], nation="LUX")}
    changed = run(tmp_path / "b", rest, resume=state, sources=other)
    assert changed.outcome.warnings == [f"{state}: saved with another configuration or other sources"]


def test_another_file_than_the_one_that_was_stopped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch)
    path = write(tmp_path / "feed", FEEDS["looks"])
    state = str(tmp_path / "state")
    run(tmp_path / "a", path, save=state, after=2)
    write(path, FEEDS["looks"] + [b"\n"])
    b = run(tmp_path / "b", path, resume=state)
    assert len(b.outcome.warnings) == 1
    assert "which is another file" in b.outcome.warnings[0]
    # All of it is read, and what was fused before is known.
    assert b.summary["records_in"] == len(FEEDS["looks"])
    assert accounted(b.summary)


def _changed(data: bytes, at: int, to: bytes) -> bytes:
    return data[:at] + to + data[at + len(to) :]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("foreign", "not a saved run"),
        ("empty", "not a saved run"),
        ("head", "damaged"),
        ("version", "version 9"),
        ("truncated", "truncated"),
        ("longer", "truncated"),
        ("flipped", "damaged"),
        ("absent", "No such file"),
        ("folder", "Is a directory"),
    ],
)
def test_a_state_that_cannot_be_used(tmp_path: Path, what: str, reason: str) -> None:
    state = tmp_path / "state"
    feed_path = write(tmp_path / "1", FEEDS["looks"][:20])
    run(tmp_path / "a", feed_path, save=str(state))
    data = state.read_bytes()
    head = data.index(b"\n") + 1
    damaged = {
        "foreign": b'{"look_id":"x"}\n',
        "empty": b"",
        "head": data[:head] + b"1 x\n" + data[head + 10 :],
        "version": data[:head] + b"9" + data[head + 1 :],
        "truncated": data[:-7],
        "longer": data + b"x",
        "flipped": _changed(data, len(data) // 2, bytes([data[len(data) // 2] ^ 1])),
    }
    if what in damaged:
        state.write_bytes(damaged[what])
    else:
        state.unlink()
        if what == "folder":
            state.mkdir()
    before = (tmp_path / "a" / "tracks").read_bytes()
    with pytest.raises(RunError, match=reason) as error:
        run(tmp_path / "a", feed_path, resume=str(state))
    assert error.value.status == 2
    assert str(state) in str(error.value)
    assert (tmp_path / "a" / "tracks").read_bytes() == before


def test_an_engine_state_of_another_version(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    feed_path = write(tmp_path / "1", FEEDS["looks"][:20])
    run(tmp_path / "a", feed_path, save=state)
    saved = state_file.load(state)
    head = msgspec.msgpack.encode(("apss-fusion engine state", 99, "little"))
    records = [(key, head if key == "format" else value) for key, value in saved.records]
    state_file.save(state, msgspec.structs.replace(saved, records=records))
    with pytest.raises(RunError, match="version 99") as error:
        run(tmp_path / "a", feed_path, resume=state)
    assert error.value.status == 2


def test_a_decoder_state_of_another_version(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    feed_path = write(tmp_path / "1", FEEDS["ais-nmea"][:9])
    run(tmp_path / "a", feed_path, save=state)
    saved = state_file.load(state)
    inputs = [msgspec.structs.replace(one, state=b"\x93\x01\x02\x03") for one in saved.inputs]
    state_file.save(state, msgspec.structs.replace(saved, inputs=inputs))
    with pytest.raises(RunError, match="decoder") as error:
        run(tmp_path / "a", feed_path, resume=state)
    assert error.value.status == 2

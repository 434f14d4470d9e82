"""Blocks of looks in the records: how large they are, when they go, what they are called, and that they are whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_tools import disc, engine, report, scan, seen, tick, with_latency

from apss_fusion.model import Look
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking import look_records
from apss_fusion.tracking.engine import Engine, StateError
from apss_fusion.tracking.look_records import MOST_BYTES, MOST_LOOKS
from apss_fusion.tracking.rows import LOOK

LAG_S = 4800.0
#: The window moves on in steps of an eighth of the lag.
STEP_S = LAG_S / 8.0
modes = pytest.mark.parametrize("hold_back", [False, True], ids=["on arrival", "held back"])


def reports(count: int, start: float = 0.0, every_s: float = 1.0, **fields: Any) -> list[Look]:
    return [report(start + every_s * k, 50.0, 0.0, str(k % 7), **fields) for k in range(count)]


def blocks_of(records: dict[str, bytes | None]) -> dict[str, Any]:
    """The blocks by key, decoded."""
    return {key: value and msgspec.msgpack.decode(value) for key, value in records.items() if key.startswith("looks:")}


def looks_in(block: Any) -> int:
    return len(block[0]) // LOOK.itemsize


def new_engine(**overrides: Any) -> Engine:
    return engine(with_latency(LAG_S), **overrides)


@modes
def test_looks_that_came_together_are_one_record(hold_back: bool) -> None:
    e = new_engine(hold_back=hold_back)
    e.process_many(reports(300))
    first = blocks_of(dict(e.changes()))
    assert [(key, looks_in(block)) for key, block in first.items()] == [("looks:00000000000000000001", 300)]
    assert blocks_of(dict(e.changes())) == {}
    e.process_many(reports(20, 300.0))
    assert {key: looks_in(block) for key, block in blocks_of(dict(e.changes())).items()} == {
        "looks:00000000000000000002": 20
    }


@modes
def test_a_block_has_bounds(hold_back: bool) -> None:
    """Of looks, of bytes of rows, of attributes, of footprints; a look that is larger is a block alone."""
    plain = [msgspec.structs.replace(look, detections=()) for look in reports(2 * MOST_LOOKS + 1, every_s=0.1)]
    named = reports(400, 400.0, ids={"name": "n" * 3000})
    shape = disc(50.0, 0.0, 5e3, 500)
    shaped = [scan(900.0 + k, shape, look_id=f"shaped-{k}") for k in range(60)]
    wide = [scan(1000.0, disc(50.0, 0.0, 9e3), *(seen(50.0, 0.0, str(k)) for k in range(2000)), look_id="wide")]
    for looks, least in ((plain, 3), (named, 5), (shaped, 2), (wide, 1)):
        e = new_engine(hold_back=hold_back)
        e.process_many([*looks, tick(1100.0)])
        records = dict(e.changes())
        blocks = blocks_of(records)
        assert sum(map(looks_in, blocks.values())) == len(looks) + 1
        assert len(blocks) >= least
        for key, block in blocks.items():
            assert looks_in(block) <= MOST_LOOKS
            assert looks_in(block) == 1 or len(records[key] or b"") < 1.02 * MOST_BYTES
        other = new_engine(hold_back=hold_back)
        other.load(records.items())
        assert bytes(encode(other.flush())) == bytes(encode(e.flush()))
        assert other.state() == e.state()


def test_what_looks_share_is_said_once() -> None:
    e = new_engine()
    shape = disc(50.0, 0.0, 5e3)
    e.process_many(
        [
            look
            for k in range(50)
            for look in (
                report(10.0 * k, 50.0, 0.0, "1"),
                scan(10.0 * k + 1.0, shape, seen(50.0, 0.0), look_id=f"s{k}"),
            )
        ]
    )
    ((_, block),) = blocks_of(dict(e.changes())).items()
    assert block[3] == ["ais", "sar"]
    assert len(block[4]) == 2
    assert len(block[5]) == 1


@modes
def test_a_block_goes_with_the_last_of_its_looks(hold_back: bool) -> None:
    """And not before; one whose looks had all left before anybody asked is never heard of."""
    e = new_engine(hold_back=hold_back)
    e.process_many([*reports(2, 0.0), *reports(2, 3 * STEP_S)])
    (key,) = blocks_of(dict(e.changes()))
    e.process_many([tick(LAG_S + STEP_S + 1.0)])
    changed = dict(e.changes())
    assert changed.get(key, b"there") is not None
    e.process_many([tick(LAG_S + 4 * STEP_S + 1.0)])
    assert dict(e.changes())[key] is None
    e.process_many([*reports(2, 2 * LAG_S), tick(4 * LAG_S)])
    later = blocks_of(dict(e.changes()))
    assert [looks_in(block) for block in later.values() if block] == [1]


@modes
def test_a_number_is_given_once(hold_back: bool) -> None:
    """Also after a restart, and where no block was left then."""
    e = new_engine(hold_back=hold_back)
    records = dict[str, bytes | None]()
    for k in range(4):
        e.process_many(reports(2, 1e5 * k))
        changed = dict(e.changes())
        new = [key for key, value in changed.items() if key.startswith("looks:") and value is not None]
        assert new == [f"looks:{k + 1:020d}"]
        assert not set(new) & records.keys()
        records |= changed
        e = new_engine(hold_back=hold_back)
        e.load(records.items())


def test_a_block_with_a_number_that_none_can_have_is_refused() -> None:
    """It would be written over."""
    e = new_engine()
    e.process_many(reports(2))
    records = dict(e.changes())
    value = records.pop("looks:00000000000000000001")
    for number in (0, 2):
        with pytest.raises(StateError, match="number"):
            new_engine().load({**records, f"looks:{number:020d}": value}.items())


def test_pending_looks_without_a_record_are_refused() -> None:
    e = new_engine()
    e.process_many(reports(2))
    records = dict(e.changes())
    clock = msgspec.msgpack.decode(records["clock"] or b"")
    for pending in (-1, 3):
        clock[5] = pending
        with pytest.raises(StateError, match="pending"):
            new_engine().load({**records, "clock": msgspec.msgpack.encode(clock)}.items())


@modes
def test_records_do_not_depend_on_the_numbers_of_a_process(hold_back: bool) -> None:
    """Of sources and attributes, and of the slots of tracks."""
    looks = [
        look for k in range(40) for look in (report(10.0 * k, 50.0 + k % 5, 0.0, str(k % 5)), tick(10.0 * k + 1.0))
    ]
    a, b = new_engine(hold_back=hold_back), new_engine(hold_back=hold_back)
    for k in (3, 1, 4, 0, 2):
        b.attributes.number({"mmsi": str(k)}, None)
    b.register.number("zzz")
    for e in (a, b):
        e.process_many(looks)
    assert a.changes() == b.changes()


def test_cuts_that_later_ones_contain_are_forgotten() -> None:
    e = new_engine()
    for k in range(40):
        e.process_many(reports(2, STEP_S * k, 300.0))
        changed = dict(e.changes())
        if value := changed.get(look_records.CUTS):
            assert len(msgspec.msgpack.decode(value)) == 1

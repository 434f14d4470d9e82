"""What the AIS formats share: identities, ship types, sizes, and the memory of static reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.ais_common import (
    CLASS_PROBS,
    Static,
    StaticMemory,
    class_of_text,
    class_of_type,
    dimensions,
    parse_mmsi,
    station_kind,
    valid_imo,
)

# --- identities, types, sizes ---


@pytest.mark.parametrize(
    ("mmsi", "kind"),
    [
        (235012345, "ship"),
        (775999999, "ship"),
        (111232511, "aircraft"),
        (2320001, "coast"),
        (992351234, "aton"),
        (970123456, "distress"),
        (972123456, "distress"),
        (974123456, "distress"),
        (971123456, "invalid"),
        (982351234, "craft of a ship"),
        (823512345, "handheld"),
        (0, "invalid"),
        (-1, "invalid"),
        (12345678, "invalid"),
        (23501234, "invalid"),
        (123456789, "invalid"),
        (111111111, "invalid"),
        (999999999, "invalid"),
        (1000000000, "invalid"),
        (1073741823, "invalid"),
    ],
)
def test_station_kinds(mmsi: int, kind: str) -> None:
    assert station_kind(mmsi) == kind


def test_mmsi_from_text() -> None:
    assert parse_mmsi(" 235012345 ") == parse_mmsi(235012345) == 235012345
    assert parse_mmsi("002320001") == 2320001
    for value in ("", "1e9", "-1", "２３５０１２３４５", "1234567890", "12_3", None, 1.5, True):
        assert parse_mmsi(value) is None


def test_imo_check_digits() -> None:
    assert all(map(valid_imo, (9074729, 9134270, 9777943, 8207721)))
    assert not any(map(valid_imo, (0, 9074728, 907472, 19074729, 1073741823)))


def test_classes_of_ship_types() -> None:
    assert [class_of_type(code) for code in (30, 31, 35, 36, 37, 40, 51, 52, 55, 60, 79, 80, 99)] == [
        "fishing",
        "tug",
        "military",
        "sailing",
        "pleasure",
        "highspeed",
        "sar",
        "tug",
        "law_enforcement",
        "passenger",
        "cargo",
        "tanker",
        "other",
    ]
    assert [class_of_type(code) for code in (0, 19, 38, 56, 100, 255)] == [None] * 6
    assert class_of_text("70") == class_of_text(" Cargo ") == class_of_text("70.0") == "cargo"
    assert class_of_text("Undefined") is class_of_text("") is class_of_text("7٠") is class_of_text("1004") is None
    for name, probs in CLASS_PROBS.items():
        assert sum(probs.values()) == pytest.approx(1.0)
        assert max(probs, key=lambda key: probs[key]) == name


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((225, 70, 1, 31), (295.0, 32.0)),
        ((0, 0, 0, 0), (None, None)),
        ((0, 15, 0, 5), (15.0, 5.0)),
        ((511, 10, 63, 1), (None, None)),
        ((510, 510, 62, 62), (1020.0, 124.0)),
    ],
)
def test_dimensions(sides: tuple[int, int, int, int], size: tuple[float | None, float | None]) -> None:
    assert dimensions(*sides) == size


# --- static memory ---


def test_memory_merges_what_is_known() -> None:
    memory = StaticMemory()
    assert memory.craft(235012345).ids == {"mmsi": "235012345"}
    memory.learn(235012345, Static(name="FIRST", length_m=10.0))
    memory.learn(235012345, Static(callsign="ABC", class_name="tug"))
    memory.learn(235012345, Static(name="SECOND"))
    craft = memory.craft(235012345)
    assert craft.ids == {"mmsi": "235012345", "callsign": "ABC", "name": "SECOND"}
    assert craft.class_probs == {"tug": 0.95, "other": 0.05}
    assert (craft.length_m, craft.width_m, craft.domain) == (10.0, None, "SEA")
    assert memory.craft(2320001).ids == {"mmsi": "002320001"}


def test_memory_is_bounded_and_forgets_who_was_silent_longest() -> None:
    memory = StaticMemory(limit=3)
    for mmsi in (1, 2, 3, 1, 4):
        memory.learn(mmsi, Static(name=str(mmsi)))
    assert list(memory.records()) == [3, 1, 4]
    assert "name" not in memory.craft(2).ids
    for mmsi in range(100):
        memory.craft(mmsi)
    assert memory.craft(4).ids["name"] == "4"


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["A", "B", ""])), max_size=30), st.integers(0, 30))
def test_restored_memory_goes_on_as_before(reports: list[tuple[int, str]], cut: int) -> None:
    whole, first, second = StaticMemory(4), StaticMemory(4), StaticMemory(4)
    for mmsi, name in reports:
        whole.learn(mmsi, Static(name=name or None))
    for mmsi, name in reports[:cut]:
        first.learn(mmsi, Static(name=name or None))
    second.restore(dict(first.records()))
    for mmsi, name in reports[cut:]:
        second.learn(mmsi, Static(name=name or None))
    assert list(second.records().items()) == list(whole.records().items())
    assert [second.craft(mmsi) for mmsi in range(7)] == [whole.craft(mmsi) for mmsi in range(7)]

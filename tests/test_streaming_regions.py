"""Regions: every place is in one; a look goes to all that it touches, each of its detections to one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h3
import msgspec
import pytest
from engine_tools import WGS84, disc, go, scan, seen, tick
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.model import Look
from apss_fusion.streaming.regions import FINEST, Region, Regions, RegionsError

LATITUDES = st.sampled_from([-90.0, 90.0, 0.0, 89.99, -89.99]) | st.floats(-90.0, 90.0)
LONGITUDES = st.sampled_from([-180.0, 180.0, 0.0, 179.999, -179.999]) | st.floats(-180.0, 180.0)
PLACES = st.tuples(LATITUDES, LONGITUDES)


def cell_of(lat: float, lon: float, resolution: int) -> str:
    return str(h3.latlng_to_cell(lat, lon, resolution))


@st.composite
def some_regions(draw: st.DrawFn, places: st.SearchStrategy[tuple[float, float]] = PLACES) -> Regions:
    """Up to four regions of cells of several resolutions, and the rest."""
    taken: dict[str, int] = {}
    count = draw(st.integers(1, 4))
    for number in range(count):
        for place in draw(st.lists(places, min_size=1, max_size=4)):
            cell = cell_of(*place, draw(st.integers(0, 4)))
            nested = [
                t
                for t in taken
                for a, b in [sorted((t, cell), key=h3.get_resolution)]
                if h3.cell_to_parent(b, h3.get_resolution(a)) == a
            ]
            if not nested:
                taken[cell] = number
    numbers = sorted(set(taken.values()))
    values = {
        f"r{k}": Region(partition=k, cells=tuple(c for c, n in taken.items() if n == number))
        for k, number in enumerate(numbers)
    }
    return Regions({"rest": Region(partition=len(numbers), rest=True), **values})


# ---------------------------------------------------------------------------------------- places


@given(some_regions(), PLACES)
def test_a_place_is_in_the_region_of_its_cell_and_of_no_other(regions: Regions, place: tuple[float, float]) -> None:
    """Of the cells of a file's finest resolution and what they lie in: children reach a little over their parents."""
    cells = regions._partition_of_cell
    finest = max(map(h3.get_resolution, cells))
    assert finest <= FINEST
    own = cell_of(*place, finest)
    found = [cells[cell] for k in range(finest + 1) if (cell := h3.cell_to_parent(own, k)) in cells]
    assert len(found) <= 1
    assert [regions.partition_of(*place)] == (found or [regions.names.index("rest")])


def test_without_a_file_there_is_one_region_the_globe() -> None:
    regions = Regions.read(None)
    assert regions.names == ("globe",)
    assert len(regions) == 1
    look = scan(0.0, disc(0.0, 180.0, 1e6), seen(0.0, 180.0), seen(0.0, -179.0, "2"))
    assert list(regions.route(look)) == [(0, look)]


# ---------------------------------------------------------------------------------------- looks


@given(some_regions(), st.lists(PLACES, max_size=8), st.none() | st.tuples(PLACES, st.floats(100.0, 2e6)), st.data())
@settings(max_examples=60)
def test_each_detection_goes_to_one_region_and_the_footprint_to_all_that_it_covers(
    regions: Regions, places: list[tuple[float, float]], area: Any, data: st.DataObject
) -> None:
    footprint = None if area is None else disc(*area[0], area[1])
    if area is not None:
        # Some within, where the borders are.
        inside = [go(*area[0], 30.0 * k, area[1] * f) for k in range(12) for f in (0.0, 0.5, 0.94)]
        places = [*places, *data.draw(st.lists(st.sampled_from(inside), max_size=4))]
    look = scan(0.0, footprint, *(seen(*place, str(k)) for k, place in enumerate(places)))
    routed = list(regions.route(look))
    partitions = [partition for partition, _ in routed]
    assert partitions == sorted(set(partitions))
    assert partitions
    for partition, part in routed:
        assert msgspec.structs.replace(part, detections=look.detections) == look
        assert [d for d in look.detections if regions.partition_of(d.lat, d.lon) == partition] == list(part.detections)
    assert sum(len(part.detections) for _, part in routed) == len(places)
    if area is not None:
        assert {regions.partition_of(*place) for place in inside} <= set(partitions)


@given(st.integers(0, 3), PLACES, st.floats(1e3, 1e6))
@settings(max_examples=60)
def test_a_footprint_over_a_border_goes_to_both_sides(
    resolution: int, place: tuple[float, float], radius_m: float
) -> None:
    """Also over the antimeridian and the poles, and where it is much smaller or larger than the cells."""
    cell = cell_of(*place, resolution)
    regions = Regions({"cell": Region(partition=1, cells=(cell,)), "rest": Region(partition=0, rest=True)})
    boundary = h3.cell_to_boundary(cell)
    a, b = boundary[0], boundary[1]
    # A place on the border, between two corners.
    azimuth, _, length_m = WGS84.inv(a[1], a[0], b[1], b[0])
    lat, lon = go(*a, float(azimuth), 0.4 * float(length_m))
    routed = dict(regions.route(scan(0.0, disc(lat, lon, radius_m))))
    assert set(routed) == {0, 1}


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_a_footprint_over_a_pole_goes_to_all_regions_around_it(pole: float) -> None:
    around = {cell_of(math.copysign(88.0, pole), lon, 1) for lon in range(-180, 180, 5)}
    regions = {f"r{k}": Region(partition=k, cells=(cell,)) for k, cell in enumerate(sorted(around))}
    regions["rest"] = Region(partition=len(around), rest=True)
    routed = [partition for partition, _ in Regions(regions).route(scan(0.0, disc(pole, 0.0, 3e5)))]
    assert set(routed) >= set(range(len(around)))


def test_what_is_nowhere_goes_to_the_rest() -> None:
    cell = cell_of(50.0, 0.0, 0)
    regions = Regions({"rest": Region(partition=1, rest=True), "cell": Region(partition=0, cells=(cell,))})

    def to(look: Look) -> list[int]:
        return [partition for partition, _ in regions.route(look)]

    assert to(tick(0.0)) == [1]
    assert to(scan(0.0, None, seen(95.0, 0.0))) == [1]
    assert to(scan(0.0, None, seen(math.nan, 0.0))) == [1]
    assert to(scan(0.0, {"type": "Polygon", "coordinates": [[[0, 50]]]}, seen(50.0, 0.0))) == [0]
    for footprint in (
        {},
        {"type": "Point"},
        {"type": "Polygon", "coordinates": 7},
        {"type": "Polygon", "coordinates": []},
    ):
        assert to(scan(0.0, footprint)) == [1]


# ---------------------------------------------------------------------------------------- files

PARENT = "8009fffffffffff"
CHILD = "81083ffffffffff"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "regions.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_of_regions(tmp_path: Path) -> None:
    text = f'[regions.rest]\npartition = 0\nrest = true\n[regions.north]\npartition = 1\ncells = ["{PARENT}"]\n'
    regions = Regions.read(write(tmp_path, text))
    assert regions.names == ("rest", "north")
    assert regions.partition_of(*h3.cell_to_latlng(PARENT)) == 1
    assert regions.partition_of(-45.0, 0.0) == 0


def region(name: str, partition: int, *cells: str, rest: bool = False) -> str:
    words = ", ".join(f'"{cell}"' for cell in cells)
    return f"[regions.{name}]\npartition = {partition}\n" + ("rest = true\n" if rest else f"cells = [{words}]\n")


REST = region("rest", 0, rest=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REST + region("a", 1, PARENT) + region("b", 2, PARENT), f"b and a overlap in cell {PARENT}"),
        (REST + region("a", 1, PARENT, PARENT), f"a and a overlap in cell {PARENT}"),
        (REST + region("a", 1, PARENT) + region("b", 2, CHILD), f"b and a overlap: cell {CHILD} lies in {PARENT}"),
        (REST + region("a", 1, CHILD) + region("b", 2, PARENT), f"a and b overlap: cell {CHILD} lies in {PARENT}"),
        (REST + region("a", 1, CHILD, PARENT), f"a and a overlap: cell {CHILD} lies in {PARENT}"),
        (REST + region("a", 2, PARENT), "partitions must be 0 to 1, one a region"),
        (REST + region("a", 0, PARENT), "partitions must be 0 to 1, one a region"),
        (region("a", 0, PARENT), "one region must say rest = true, 0 do"),
        ("[regions]\n", "one region must say rest = true, 0 do"),
        (REST + region("a", 1, rest=True), "one region must say rest = true, 2 do"),
        (REST + region("a", 1), "a: cells, or rest = true"),
        (REST + "cells = ['8009fffffffffff']\n", "rest: cells, or rest = true"),
        (REST + region("a", 1, "zz"), "a: 'zz' is no H3 cell of resolution 0 to 5"),
        (REST + region("a", 1, ""), "a: '' is no H3 cell"),
        (REST + region("a", 1, PARENT.upper()), f"a: '{PARENT.upper()}' is no H3 cell"),
        (REST + region("a", 1, "0x" + PARENT), f"a: '0x{PARENT}' is no H3 cell"),
        (REST + region("a", 1, "f" * 40), "is no H3 cell"),
        (REST + region("a", 1, "-1"), "a: '-1' is no H3 cell"),
        (REST + region("a", 1, cell_of(50.0, 0.0, 6)), "is no H3 cell of resolution 0 to 5"),
        (REST + region("a", -1, PARENT), "$.regions[...].partition"),
        (REST + "colour = 'red'\n", "colour"),
        ("regions = 3\n", "$.regions"),
        ("x = 3\n", "x"),
        ("[regions.rest\n", "Expected ']'"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RegionsError) as error:
        Regions.read(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegionsError, match=r"none\.toml: No such file or directory"):
        Regions.read(str(tmp_path / "none.toml"))
    with pytest.raises(RegionsError, match="Is a directory"):
        Regions.read(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(RegionsError, match=r"latin\.toml: 'utf-8'"):
        Regions.read(str(tmp_path / "latin.toml"))

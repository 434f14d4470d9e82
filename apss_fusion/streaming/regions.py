"""Regions: sets of H3 cells, a partition of looks each, and which of them a look belongs to.

A look goes to every region that its footprint overlaps or that a detection of it lies in, with its whole footprint, and
with those of its detections that lie in that region: each detection is fused once. A region's engine knows nothing of
the others: an object that crosses a border is lost on one side and found on the other.

``regions.toml``::

    [regions.baltic]
    partition = 1
    cells = ["811f3ffffffffff", "81083ffffffffff"]

    [regions.rest]
    partition = 0
    rest = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import h3
import msgspec
from msgspec import Meta, Struct

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.model import Look

#: Cells finer than this are too many for a border.
FINEST = 5


class RegionsError(ValueError):
    """Regions that cannot be used; the message names the file and the region."""


class Region(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One region."""

    #: Of the topic `looks` and of those that go with it.
    partition: Annotated[int, Meta(ge=0, le=999)]
    #: H3 cells of resolutions 0 to 5; none for the rest.
    cells: tuple[str, ...] = ()
    #: Whether the region is all that is in no other.
    rest: bool = False


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    regions: dict[str, Region]


class Regions:
    """Where looks go. Without a file there is one region, the globe.

    Attributes
    ----------
    names
        The name of each partition's region, by partition.
    """

    def __init__(self, regions: dict[str, Region] | None = None, where: str = "regions") -> None:
        regions = regions if regions is not None else {"globe": Region(partition=0, rest=True)}
        by_partition = sorted((region.partition, name) for name, region in regions.items())
        if [partition for partition, _ in by_partition] != list(range(len(regions))):
            raise RegionsError(f"{where}: partitions must be 0 to {len(regions) - 1}, one a region")
        self.names = tuple(name for _, name in by_partition)
        rest = [name for name, region in regions.items() if region.rest]
        if len(rest) != 1:
            raise RegionsError(f"{where}: one region must say rest = true, {len(rest)} do")
        self._rest = regions[rest[0]].partition
        self._partition_of_cell: dict[str, int] = {}
        for name, region in regions.items():
            if region.rest == bool(region.cells):
                raise RegionsError(f"{where}: {name}: cells, or rest = true")
            for cell in region.cells:
                if not _is_cell(cell) or h3.get_resolution(cell) > FINEST:
                    raise RegionsError(f"{where}: {name}: {cell!r} is no H3 cell of resolution 0 to {FINEST}")
                if cell in self._partition_of_cell:
                    other = self.names[self._partition_of_cell[cell]]
                    raise RegionsError(f"{where}: {name} and {other} overlap in cell {cell}")
                self._partition_of_cell[cell] = region.partition
        self._resolutions = sorted({h3.get_resolution(cell) for cell in self._partition_of_cell})
        self._check_nested(where)
        self._finest = self._resolutions[-1] if self._resolutions else 0

    def __len__(self) -> int:
        return len(self.names)

    def _check_nested(self, where: str) -> None:
        for cell, partition in self._partition_of_cell.items():
            for resolution in self._resolutions:
                if resolution >= h3.get_resolution(cell):
                    break
                parent = h3.cell_to_parent(cell, resolution)
                if parent in self._partition_of_cell:
                    a, b = self.names[partition], self.names[self._partition_of_cell[parent]]
                    raise RegionsError(f"{where}: {a} and {b} overlap: cell {cell} lies in {parent}")

    @classmethod
    def read(cls, path: str | None) -> Regions:
        """The regions of a file; None: the globe. Raises `RegionsError`, which names the file."""
        if path is None:
            return cls()
        try:
            found = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), _File)
        except OSError as error:
            raise RegionsError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise RegionsError(f"{path}: {error}") from None
        return cls(found.regions, path)

    # ------------------------------------------------------------------ routing

    def partition_of(self, lat: float, lon: float) -> int:
        """The partition of the region that a position lies in, degrees."""
        if not self._resolutions:
            return self._rest
        return self._partition_of(h3.latlng_to_cell(lat, lon, self._finest))

    def _partition_of(self, cell: str) -> int:
        for resolution in self._resolutions:
            found = self._partition_of_cell.get(h3.cell_to_parent(cell, resolution))
            if found is not None:
                return found
        return self._rest

    def route(self, look: Look) -> Iterator[tuple[int, Look]]:
        """The partitions that a look goes to, ascending, with what each gets of it."""
        if not self._resolutions:
            yield self._rest, look
            return
        own = [self._partition_of_or_rest(d.lat, d.lon) for d in look.detections]
        partitions = set(own) | (self._overlapped(look) if look.footprint is not None else set())
        if len(partitions) == 1:
            yield partitions.pop(), look
            return
        for partition in sorted(partitions or {self._rest}):
            mine = tuple(d for d, p in zip(look.detections, own, strict=True) if p == partition)
            yield partition, msgspec.structs.replace(look, detections=mine)

    def _partition_of_or_rest(self, lat: float, lon: float) -> int:
        # What is no position is said of where it is fused.
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            return self._rest
        return self.partition_of(lat, lon)

    def _overlapped(self, look: Look) -> set[int]:
        """The partitions of all cells that a footprint touches; none where it is no polygon."""
        try:
            cells, _ = Footprint.of(look.footprint or {}).share_of_cells(self._finest)
            corners = [corner for ring in _rings(look.footprint or {}) for corner in ring]
            found = {self._partition_of(h3.int_to_str(cell)) for cell in cells.tolist()}
            # One that is small beside a cell may cover no share of it.
            return found | {self.partition_of(lat, lon) for lon, lat, *_ in corners}
        except (ValueError, TypeError, KeyError, IndexError):
            # The engine says what is wrong with it.
            return set()


def _is_cell(text: str) -> bool:
    """Whether a text is a cell as h3 writes it. It reads other spellings too, which would not be found again."""
    try:
        return bool(h3.is_valid_cell(text)) and h3.int_to_str(h3.str_to_int(text)) == text
    except (ValueError, OverflowError):
        # No hexadecimal number, or a large one.
        return False


def _rings(geojson: dict[str, Any]) -> list[list[list[float]]]:
    polygons = [geojson["coordinates"]] if geojson["type"] == "Polygon" else geojson["coordinates"]
    return [ring for polygon in polygons for ring in polygon]

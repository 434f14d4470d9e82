"""Detections of the Skylight (Ai2) Sentinel-1 and Sentinel-2 models as CSV (allenai/vessel-detection-sentinels).

One row is one record, one scene one look; rows of a scene may stand anywhere in the file. The time stands only in the
name of the scene, which also tells the satellite, and so the source of each row:

- ``S1A_IW_GRDH_1SDV_<start>_<stop>_...``: source ``skylight-s1``; a detection is put at the middle of the 25 s.
- ``S2B_MSIL1C_<start>_...``: source ``skylight-s2``. The time is the start of the data take; a data take is up to
  15 000 km long, so this scene followed some minutes later (by its orbit, the granule of the published example about
  seven). Nothing in the file says how many: the time stays, and the position error of the source covers a ship of 10
  knots (5.1 m/s) for a delay that is uniform over 15 min, 520 s rms, which is 1.9 km on each axis.

``vessel_speed_k`` is in knots, without a direction. The model gives heading as 16 sectors: sector k holds headings from
22.5 k to 22.5 (k + 1) degrees. It was trained to put 8/14 on the right sector and the rest on its neighbours and the
opposite ones, so the middle of a sector is taken as the heading where it has at least half of the probability, and none
otherwise. ``score`` is the detector's belief; ``is_fishing_vessel`` is a probability.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO, ClassVar

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoder, Ignored, Item
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.imagery_common import (
    LONGEST_SCENE,
    Row,
    Scene,
    columns,
    csv_rows,
    needed_text,
    number,
    position,
    positive,
    table_items,
)
from apss_fusion.model import Detection, Source

MPS_PER_KNOT = 1852.0 / 3600.0
_COLUMNS = frozenset({"lon", "lat", "score", "vessel_length_m", "vessel_speed_k", "scene_id"})
_SECTORS = 16
_TIME = r"(\d{8}T\d{6})"
_S1 = re.compile(rf"S1[A-D]_\w\w_\w{{4}}_\w{{4}}_{_TIME}_{_TIME}_.*", re.ASCII)
_S2 = re.compile(rf"S2[A-D]_MSIL\w\w_{_TIME}_.*", re.ASCII)


class SkylightSentinel1(Decoder):
    """Skylight detections whose first scene is of Sentinel-1, or that have none yet."""

    name: ClassVar[str] = "skylight-s1"
    title: ClassVar[str] = "Skylight vessel detections in Sentinel-1 scenes (CSV)"
    source: ClassVar[Source] = Source(
        modality="SAR",
        provider="Skylight",
        platform="Sentinel-1",
        domains=("SEA",),
        # As derived for KSAT, at a slant range of 880 km and 25 s: azimuth shift of a ship at 10 knots 260 m rms.
        position_sigma_m=200.0,
        # Most vessels above 25 m; the model card gives no number for the sea at large.
        p_detect=0.8,
        # A few false detections in a scene of 250 km by 170 km: waves, ice, fixed structures are not taken out.
        clutter_per_km2=5e-5,
        # Near real time products take from one to two hours.
        max_latency_s=7200.0,
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line names the columns, by the satellite of the first row."""
        return columns(head) >= _COLUMNS and not _first_scene(head).startswith("S2")

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the rows of a scene may stand anywhere."""
        return _items(stream)


class SkylightSentinel2(Decoder):
    """Skylight detections whose first scene is of Sentinel-2."""

    name: ClassVar[str] = "skylight-s2"
    title: ClassVar[str] = "Skylight vessel detections in Sentinel-2 scenes (CSV)"
    source: ClassVar[Source] = Source(
        modality="EO",
        provider="Skylight",
        platform="Sentinel-2",
        domains=("SEA",),
        # The moment of the scene is known within a quarter of an hour (see above); pixels of 10 m do not count.
        position_sigma_m=1900.0,
        # Two thirds of the sea is under cloud; of what is clear, most vessels above 15 m are found.
        p_detect=0.3,
        # One or two false detections (waves, clouds, rocks) in a granule of 110 km by 110 km.
        clutter_per_km2=1e-4,
        # The published example was processed an hour after it was taken.
        max_latency_s=7200.0,
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line names the columns, by the satellite of the first row."""
        return columns(head) >= _COLUMNS and _first_scene(head).startswith("S2")

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the rows of a scene may stand anywhere."""
        return _items(stream)


def _first_scene(head: bytes) -> str:
    """The scene of the first whole row, or nothing."""
    rows = csv_rows(io.BytesIO(head), _COLUMNS)
    return next((row.cells["scene_id"] for row in rows if isinstance(row, Row)), "")


def _items(stream: BinaryIO) -> Iterator[Item]:
    scenes: dict[str, Scene] = {}
    return table_items(stream, (_COLUMNS,), partial(_add, scenes), lambda: (s.decoded() for s in scenes.values()))


def _add(scenes: dict[str, Scene], cells: Mapping[str, str]) -> Ignored | None:
    scene_id = needed_text(cells, "scene_id")
    scene = scenes.get(scene_id) or _scene(scene_id)
    answer = scene.add(_detection(cells, scene))
    scenes[scene_id] = scene
    return answer


def _scene(scene_id: str) -> Scene:
    if match := _S1.fullmatch(scene_id):
        start, stop = _time(match.group(1)), _time(match.group(2))
        if not start <= stop or stop - start > LONGEST_SCENE:
            raise BadValue("scene_id", "the scene stops before it starts or lasts more than 30 min")
        return Scene(SkylightSentinel1.name, scene_id, start, stop)
    if match := _S2.fullmatch(scene_id):
        return Scene(SkylightSentinel2.name, scene_id, _time(match.group(1)))
    raise BadValue("scene_id", "the scene is not named as a product of Sentinel-1 or Sentinel-2")


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise BadValue("scene_id", "the name of the scene has no date and time") from None


def _detection(cells: Mapping[str, str], scene: Scene) -> Detection:
    lat, lon = position(cells["lat"], cells["lon"], "lat", "lon")
    speed_kn = number(cells["vessel_speed_k"], "vessel_speed_k")
    fishing = number(cells.get("is_fishing_vessel"), "is_fishing_vessel", 0.0, 1.0)
    return Detection(
        detection_id=cells.get("detect_id") or content_id(scene.source_id, scene.scene_id, repr(lat), repr(lon)),
        lat=lat,
        lon=lon,
        time=None if scene.time_end is None else scene.time + (scene.time_end - scene.time) / 2,
        # The estimator gives a little less than zero for ships that lie still: no speed.
        speed_mps=speed_kn * MPS_PER_KNOT if speed_kn is not None and speed_kn >= 0.0 else None,
        heading_deg=_heading(cells),
        domain="SEA",
        class_probs=None if fishing is None else {"fishing": fishing, "other": 1.0 - fishing},
        length_m=positive(cells["vessel_length_m"], "vessel_length_m"),
        width_m=positive(cells.get("vessel_width_m"), "vessel_width_m"),
        detection_prob=number(cells["score"], "score", 0.0, 1.0),
    )


def _heading(cells: Mapping[str, str]) -> float | None:
    for k in range(_SECTORS):
        name = f"heading_bucket_{k}"
        share = number(cells.get(name), name, 0.0, 1.0)
        if share is not None and share >= 0.5:
            return (k + 0.5) * 360.0 / _SECTORS
    return None

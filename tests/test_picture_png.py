"""The picture is an image of the stated size, with something on it where something is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.model import Source
from apss_fusion.outputs.picture_png import DOMAIN_COLOURS, draw
from apss_fusion.outputs.picture_scene import Scene

pytest.importorskip("matplotlib")
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def update(
    track: str, seconds: float, lat: float, lon: float, domain: str, status: str = "CONFIRMED"
) -> dict[str, Any]:
    return {
        "track_id": track,
        "status": status,
        "time": at(seconds),
        "domain": domain,
        "lat": lat,
        "lon": lon,
        "speed_mps": 8.0,
        "course_deg": 90.0,
        "ellipse95": {"semi_major_m": 9000.0, "semi_minor_m": 3000.0, "orientation_deg": 30.0},
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scenario(lon: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Ships that go east, aircraft that have ended, vehicles close together; looks and truth about them."""

    def wrapped(value: float) -> float:
        return (value + 180.0) % 360.0 - 180.0

    tracks, truth, looks = [], [], []
    for k in range(12):
        seconds = 300.0 * k
        objects = []
        for i in range(8):
            lat = 40.0 + 0.4 * i
            tracks.append(update(f"s{i}", seconds, lat, wrapped(lon + 0.2 * k - 1.0), "SEA"))
            objects.append({"id": f"s{i}", "lat": lat, "lon": wrapped(lon + 0.2 * k - 1.0), "domain": "SEA"})
            tracks.append(update(f"g{i}", seconds, 41.0 + 0.01 * i, wrapped(lon + 0.01 * k), "GROUND", "COASTING"))
        ended = "TERMINATED" if k == 5 else "CONFIRMED"
        if k <= 5:
            tracks.append(update("a", seconds, 42.0, wrapped(lon - 0.2 * k), "AIR", ended))
        truth.append({"time": at(seconds), "objects": objects})
    square = [[wrapped(lon + x), 40.5 + y] for x, y in ((0.1, 0), (1, 0), (1, 1), (0.1, 1), (0.1, 0))]
    detection = {"detection_id": "1", "lat": 41.0, "lon": wrapped(lon + 0.5)}
    footprint = {"type": "Polygon", "coordinates": [square]}
    looks.append({"source_id": "sar", "footprint": footprint, "detections": [detection]})
    looks.append({"source_id": "ais", "detections": [detection, detection]})
    looks.append({"source_id": "strange", "footprint": {"type": "MultiPolygon", "coordinates": [[square]]}})
    return tracks, looks, truth


def files_of(folder: Path, lon: float) -> tuple[Path, Path, Path]:
    tracks, looks, truth = scenario(lon)
    return write(folder / "t", tracks), write(folder / "l", looks), write(folder / "r", truth)


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(str(path)))[:, :, :3]


def share_of(image: np.ndarray, colour: str) -> float:
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float((np.abs(image - wanted).max(axis=2) < 0.08).mean())


@pytest.mark.parametrize("lon", [4.0, 180.0])
def test_a_picture_of_everything(tmp_path: Path, lon: float) -> None:
    files = files_of(tmp_path, lon)
    sources = {"sar": Source(modality="SAR"), "ais": Source(modality="AIS")}
    draw(*files, tmp_path / "p.png", sources=sources, title="A test")
    image = pixels(tmp_path / "p.png")
    assert image.shape == (1200, 1600, 3)
    for domain in ("SEA", "GROUND"):
        assert share_of(image, DOMAIN_COLOURS[domain]) > 5e-4
    assert (image.min(axis=2) < 0.95).mean() > 0.02
    # The same again gives the same bytes.
    draw(*files, tmp_path / "q.png", sources=sources, title="A test")
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()


def test_where_things_lie(tmp_path: Path) -> None:
    """Across the antimeridian as elsewhere: the same plane, the same window, the same numbers."""
    scenes = []
    for lon in (4.0, 180.0):
        scenes.append(Scene(*files_of(tmp_path, lon), {"sar": Source(modality="SAR")}))
    here, there = scenes
    for name, tail in here.tails.items():
        np.testing.assert_allclose(there.tails[name], tail, atol=1e-6)
    np.testing.assert_allclose(there.footprints["SAR"][0], here.footprints["SAR"][0], atol=1e-6)
    assert here.window.half == pytest.approx(there.window.half)
    assert here.looks == {"SAR": 1, "own reports": 1, "detections": 1}
    assert here.seen == {"SAR": 1, "own reports": 2, "detections": 0}
    assert (len(here.live("SEA")), here.ended("AIR"), here.live("AIR")) == (8, 1, [])
    assert here.span() == "2026-01-01 00:00:00 to 00:55:00 UTC"
    enlarged = here.enlarged()
    assert enlarged is not None
    assert enlarged[0] == "GROUND"
    # Distances from the middle are true: the window holds every tail.
    assert all(
        (np.abs(tail - (here.window.x, here.window.y)) <= here.window.half).all() for tail in here.tails.values()
    )
    place = here.tails["s0"][0]
    lat, lon_ = here.degrees(place[None])
    np.testing.assert_allclose(nvectors(lat, lon_), nvectors(40.0, 3.0), atol=1e-9)


def test_no_outline_where_a_footprint_was_cut(tmp_path: Path) -> None:
    west = [[179, 1], [179, 0], [180, 0], [180, 1], [179, 1]]
    east = [[-180, 1], [-180, 0], [-179, 0], [-179, 1], [-180, 1]]
    looks = [{"source_id": "sar", "footprint": {"type": "MultiPolygon", "coordinates": [[west], [east]]}}]
    tracks = [update("t", 0, 0.5, 180.0, "SEA")]
    scene = Scene(write(tmp_path / "t", tracks), write(tmp_path / "l", looks), None, {})
    edges = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in scene.outlines["detections"]])
    assert len(edges) == 6
    # An edge along the antimeridian would have both ends in the middle of the picture.
    assert np.abs(edges[:, :, 0]).max(axis=1).min() > 100.0
    assert len(scene.footprints["detections"]) == 2


def test_ellipses_keep_size_and_turn(tmp_path: Path) -> None:
    scene = Scene(write(tmp_path / "t", scenario(4.0)[0]), None, None, {})
    live = scene.live("SEA")
    ends = np.array([scene.tails[u.track_id][-1] for u in live])
    width, height, angle = scene.ellipses(live, ends)
    np.testing.assert_allclose(width, 18.0, rtol=1e-3)
    np.testing.assert_allclose(height, 6.0, rtol=1e-3)
    # 30 degrees clockwise from north, within the convergence of meridians.
    np.testing.assert_allclose(angle, 60.0, atol=2.0)


def test_little_or_nothing(tmp_path: Path) -> None:
    """No tracks, one point, tracks all over the globe: still a picture."""
    empty = write(tmp_path / "empty", [])
    draw(empty, None, None, tmp_path / "0.png")
    one = write(tmp_path / "one", [update("t", 0, 89.999, 0.0, "SEA")])
    draw(one, empty, empty, tmp_path / "1.png")
    places = [(0, 0), (0, 90), (0, 180), (0, -90), (89, 0), (-89, 0)]
    globe = [update(str(i), 0, *place, domain="UNKNOWN") for i, place in enumerate(places)]
    draw(write(tmp_path / "globe", globe), None, None, tmp_path / "2.png")
    for name in "012":
        assert pixels(tmp_path / f"{name}.png").shape == (1200, 1600, 3)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "tracks.ndjson"
    bad.write_text('{"track_id": 7}\n')
    with pytest.raises(ValueError, match=r"tracks\.ndjson:1: "):
        draw(bad, None, None, tmp_path / "p.png")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r"apss-fusion\[plot\]"):
        draw(write(tmp_path / "t", []), None, None, tmp_path / "p.png")

"""Draws the pictures of the documentation: ``python docs/images/make_pictures.py [DEMO]``.

The three of how-it-works.md come from small feeds that run through the Engine. With DEMO, the folder that
``apss-fusion demo --out DEMO`` wrote, its picture is made smaller too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h3.api.numpy_int as h3
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from apss_fusion import Config, Detection, Engine, Look, Source
from apss_fusion.estimation.motion import process_noise
from apss_fusion.model import TrackUpdate
from apss_fusion.outputs.picture_png import DOMAIN_COLOURS
from apss_fusion.tracking.updates import ELLIPSE95_SIGMAS

HERE = Path(__file__).parent
START = datetime(2026, 1, 1, tzinfo=UTC)
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#9AA0A6"
SOURCES = {
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=0.0),
    "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=0.0, p_detect=0.85),
}
METRES_A_DEGREE = 111_195.0
#: A few colours of picture.png and their tints; with so few the file is small.
PALETTE = (*DOMAIN_COLOURS.values(), "#A6761D", "#B5179E", "#7A5195", "#4D7C0F", "#222222")
GREYS = (255, 248, 240, 232, 224, 216, 200, 180, 154, 120, 90)
DEMO_WIDTH = 1100


def engine() -> Engine:
    """An engine with the defaults, which holds nothing back and tells of tentative tracks too."""
    return Engine(Config.of({"lag_s": 0.0, "tentative": True}), SOURCES)


def at(minutes: float) -> datetime:
    """A time so many minutes after the start."""
    return START + timedelta(minutes=minutes)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970."""
    return round(time.timestamp() * 1e6)


def sar(minutes: float, lons: tuple[float, float], ships: Iterable[tuple[float, float]] = ()) -> Look:
    """A look that searched from 0.5 S to 0.5 N between two longitudes, and found ships (lat, lon)."""
    west, east = lons
    ring = [[west, -0.5], [east, -0.5], [east, 0.5], [west, 0.5], [west, -0.5]]
    found = tuple(
        Detection(detection_id=f"{minutes}/{k}", lat=lat, lon=lon, domain="SEA") for k, (lat, lon) in enumerate(ships)
    )
    polygon = {"type": "Polygon", "coordinates": [ring]}
    return Look(look_id=f"sar/{minutes}", source_id="sar", time=at(minutes), footprint=polygon, detections=found)


def ais(minutes: float, lon: float, speed_mps: float) -> Look:
    """A report of a ship on the equator that sails east."""
    report = Detection(
        detection_id=f"{minutes}",
        lat=0.0,
        lon=lon,
        domain="SEA",
        speed_mps=speed_mps,
        course_deg=90.0,
        ids={"mmsi": "244000001"},
    )
    return Look(look_id=f"ais/{minutes}", source_id="ais", time=at(minutes), detections=(report,))


def figure(title: str, width: float = 7.5, height: float = 3.2) -> tuple[Figure, Axes]:
    """An empty chart."""
    drawing = Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return drawing, axes


def save(drawing: Figure, name: str) -> None:
    """Write a chart in few colours."""
    path = HERE / name
    drawing.savefig(path)
    Image.open(path).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)


def semi_major_m(update: TrackUpdate, dt: float) -> float:
    """Of the 95 % ellipse of an update predicted by dt seconds."""
    row = Config.of().params().domain[0]
    noise, _, _ = process_noise(row["q"], row["g"], dt)
    ee, _, ea, _, nn, _, nb, aa, _, bb = update.cov_enu
    east, north = ee + 2.0 * dt * ea + dt * dt * aa + noise, nn + 2.0 * dt * nb + dt * dt * bb + noise
    return ELLIPSE95_SIGMAS * math.sqrt(max(east, north))


def draw_ellipse() -> None:
    """A ship reports itself, falls silent, is seen by a radar twice, and reports again."""
    speed_mps = 8.0

    def lon(minutes: float) -> float:
        return speed_mps * minutes * 60.0 / METRES_A_DEGREE

    reports = [*range(0, 41, 10), *range(130, 171, 10)]
    scans = [70, 95]
    looks = [ais(m, lon(m), speed_mps) for m in reports]
    looks += [sar(m, (-0.5, 2.0), [(0.0, lon(m))]) for m in scans]
    fuser = engine()
    updates = list(fuser.process_many(sorted(looks, key=lambda look: look.time)))
    updates += fuser.flush()
    ship = [u for u in updates if u.track_id == updates[0].track_id and u.time == u.time_last_detection]
    minutes, size = [], []
    for update, end in zip(ship, [*(u.time for u in ship[1:]), at(190)], strict=True):
        for dt in np.linspace(0.0, (end - update.time).total_seconds(), 60):
            minutes.append((update.time - START).total_seconds() / 60.0 + dt / 60.0)
            size.append(semi_major_m(update, float(dt)))
    drawing, axes = figure("Half the length of one track's 95 % ellipse")
    axes.semilogy(minutes, size, color=BLUE)
    top = max(size)
    axes.plot(reports, [top * 1.6] * len(reports), "|", color=GREY, markersize=10, label="AIS report")
    axes.plot(scans, [top * 1.6] * len(scans), "v", color=ORANGE, label="SAR detection")
    axes.set_xlabel("minutes")
    axes.set_ylabel("m")
    axes.legend(frameon=False, fontsize=8, loc="lower center", ncols=2)
    axes.set_ylim(bottom=5.0)
    save(drawing, "ellipse.png")


def draw_existence() -> None:
    """Two ships are seen three times; afterwards the radar looks at the place of one of them only, in vain."""
    west, east = (0.0, 0.5), (0.0, 2.5)
    both, only_west = (0.0, 3.0), (0.0, 1.0)
    seen, empty = [0, 10, 20], [40, 55, 70]
    fuser = engine()
    looks = [sar(m, both, [west, east]) for m in seen] + [sar(m, only_west) for m in empty]
    minutes = np.arange(0.0, 91.0, 0.5)
    curves: dict[str, list[float]] = {"inside": [], "outside": []}
    for m in minutes:
        while looks and looks[0].time <= at(float(m)):
            fuser.process(looks.pop(0))
            fuser.flush()
        tracks = fuser.tracks_at(microseconds(at(float(m) + 0.01)), 0.0)
        for name, ship in (("inside", west), ("outside", east)):
            near = [t.existence_prob for t in tracks if abs(t.lon - ship[1]) < 0.5]
            curves[name].append(max(near, default=0.0))
    drawing, axes = figure("Existence of two tracks that are not seen any more")
    axes.step(minutes, curves["outside"], where="post", color=GREEN, label="outside the later footprints")
    axes.step(minutes, curves["inside"], where="post", color=ORANGE, label="inside them, and not seen")
    for m in empty:
        axes.axvline(m, color=GREY, linewidth=0.8, linestyle=":")
    axes.axhline(Config.of().tracking.recycle, color=GREY, linewidth=0.8)
    axes.text(1, Config.of().tracking.recycle + 0.02, "below this the track ends", fontsize=8, color="#555555")
    axes.set_ylim(0.0, 1.05)
    axes.set_xlabel("minutes (dotted: a look at one of them, without a detection)")
    axes.set_ylabel("existence_prob")
    axes.legend(frameon=False, fontsize=8, loc="center left")
    save(drawing, "existence.png")


def draw_cells() -> None:
    """The undetected intensity after two strips, the older of which has begun to fill up again."""
    fuser = engine()
    for look in (sar(0, (0.2, 0.9)), sar(240, (1.3, 2.0), [(0.3, 1.7)])):
        fuser.process(look)
    fuser.flush()
    sea = Config.of().domain["SEA"]
    prior = sea.undetected_per_km2 * 1e-6
    now = at(245).timestamp()
    drawing, axes = figure("Density of unseen ships, as a share of the prior", 7.5, 3.6)
    shares, outlines = [], []
    for key, row in fuser.changes():
        if not key.startswith("cell:") or row is None:
            continue
        number = int(key.removeprefix("cell:"), 16)
        if number >> 56 & 3:
            continue  # of another domain than SEA
        value, time = np.frombuffer(row).tolist()
        shares.append(1.0 + (value / prior - 1.0) * math.exp(-(now - time) / sea.arrival_s))
        outlines.append([(lon, lat) for lat, lon in h3.cell_to_boundary(number)])
    cells = PolyCollection(outlines, array=np.array(shares), cmap="cividis", edgecolors="white", linewidths=0.3)
    cells.set_clim(0.0, 1.0)
    axes.add_collection(cells)
    axes.set_facecolor(to_rgb("#FDE737"))
    axes.set_xlim(-0.1, 2.3)
    axes.set_ylim(-0.7, 0.7)
    axes.set_aspect("equal")
    axes.set_xlabel("longitude, deg (left: swept four hours ago; right: just swept)")
    axes.set_ylabel("latitude, deg")
    drawing.colorbar(cells, ax=axes)
    save(drawing, "cells.png")


def shrink_demo(demo: Path) -> None:
    """The demo's picture, smaller and in the colours of `PALETTE`."""
    colours: list[int] = []
    for colour in PALETTE:
        for strength in (1.0, 0.6, 0.3):
            colours += [round(255 * (1.0 - strength * (1.0 - part))) for part in to_rgb(colour)]
    for grey in GREYS:
        colours += [grey] * 3
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours + colours[:3] * (256 - len(colours) // 3))
    picture = Image.open(demo / "picture.png").convert("RGB")
    size = (DEMO_WIDTH, DEMO_WIDTH * picture.height // picture.width)
    small = picture.resize(size, Image.Resampling.LANCZOS).quantize(palette=palette, dither=Image.Dither.NONE)
    small.save(HERE / "demo.png", optimize=True)


if __name__ == "__main__":
    draw_ellipse()
    draw_existence()
    draw_cells()
    if len(sys.argv) > 1:
        shrink_demo(Path(sys.argv[1]))

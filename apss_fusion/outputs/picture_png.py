"""A still picture of tracks: their tails, where they are last believed to be, and what was seen and looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.model import Domain, Source
from apss_fusion.outputs.picture_scene import DOMAINS, Scene, Window

FloatArray = NDArray[np.float64]

#: Colours that also the colour-blind can tell apart (Okabe and Ito 2008), back to front.
DOMAIN_COLOURS: dict[Domain, str] = {"UNKNOWN": "#CC79A7", "GROUND": "#009E73", "AIR": "#D55E00", "SEA": "#0072B2"}
_LOOK_COLOURS = {
    "SAR": "#A6761D",
    "EO": "#B5179E",
    "IR": "#B5179E",
    "RF": "#7A5195",
    "GMTI": "#4D7C0F",
    "AIS": "#9DB8D6",
    "ADSB": "#E8BFA3",
    "own reports": "#B9C3CC",
    "detections": "#A6761D",
}
_INK, _FAINT, _TRUTH = "#222222", "#9AA0A6", "#9A9A9A"
_ENDED_ALPHA = 0.35
#: A leap between two points of a line this long, in km, is the far edge of the plane and not drawn.
_LEAP_KM = 9_000.0


def draw(
    tracks_path: Path,
    looks_path: Path | None,
    truth_path: Path | None,
    out_png: Path,
    *,
    sources: Mapping[str, Source] | None = None,
    title: str = "Tracks",
) -> None:
    """Draw all tracks of a file of track updates, 1600 by 1200 pixels.

    Tails are the positions of a track's updates, the last half hour of live tracks stronger, ended tracks faint. A live
    track ends in a mark with its 95 % ellipse and the way that it goes in ten minutes (two, in the air and on the
    ground). Detections and footprints are drawn if looks are given, coloured by the modality of their source where
    `sources` tells it; truth is drawn as thin grey lines. A domain that fills a small part of the map is enlarged
    beside it. The map is equidistant from the middle of the tracks, where north is up.

    Raises
    ------
    RuntimeError
        If matplotlib is not installed (the extra ``plot``).
    ValueError
        On a line that cannot be read, naming file and line.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("a picture needs matplotlib: install apss-fusion[plot]") from error
    scene = Scene(tracks_path, looks_path, truth_path, sources or {})
    figure = Figure(figsize=(16, 12), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(2.62, 1), height_ratios=(1.6, 1), left=0.02, right=0.985)
    grid.update(top=0.915, bottom=0.025, wspace=0.06, hspace=0.09)
    figure.suptitle(title, x=0.02, y=0.98, ha="left", va="top", fontsize=20, fontweight="bold", color=_INK)
    figure.text(0.02, 0.945, scene.span(), ha="left", va="top", fontsize=12, color="#555555")
    chart = figure.add_subplot(grid[:, 0])
    _paint(chart, scene, scene.window, DOMAINS)
    _legend(figure.add_subplot(grid[0, 1]), scene)
    if (small := scene.enlarged()) is not None:
        domain, window = small
        part = figure.add_subplot(grid[1, 1])
        _paint(part, scene, window, (domain,))
        part.set_title(f"{domain.lower()}, enlarged", fontsize=12, loc="left", color=DOMAIN_COLOURS[domain])
        chart.indicate_inset(window.bounds, edgecolor=DOMAIN_COLOURS[domain], alpha=0.9, linewidth=1.4)
    canvas.print_png(str(out_png))


def _paint(axes: Any, scene: Scene, window: Window, domains: tuple[Domain, ...]) -> None:
    """Draw what lies in a window, with the tracks of some domains."""
    axes.set_xlim(window.x - window.half, window.x + window.half)
    axes.set_ylim(window.y - window.half, window.y + window.half)
    axes.set(aspect="equal", anchor="NW", xticks=[], yticks=[], facecolor="#FBFCFD")
    axes.spines[:].set_color(_FAINT)
    _graticule(axes, scene, window)
    if window is scene.window:
        _paint_footprints(axes, scene)
    for kind, places in scene.detections.items():
        shown = places[(np.abs(places - (window.x, window.y)) < window.half).all(axis=1)]
        size, alpha = (1.5, 0.2) if len(shown) > 3_000 else (7.0, 0.75)
        axes.scatter(*shown.T, s=size, alpha=alpha, c=_colour(kind), linewidths=0, zorder=2)
    _paint_lines(axes, scene.truth, _TRUTH, 0.7, 0.55, 3.0)
    for domain in domains:
        _paint_tracks(axes, scene, domain)
    _scale_bar(axes, window)


def _paint_footprints(axes: Any, scene: Scene) -> None:
    """Outlines and fills, fainter the more often the map is covered."""
    from matplotlib.collections import PolyCollection

    whole = 4.0 * scene.window.half**2
    for kind, rings in scene.footprints.items():
        middles = {tuple((ring.mean(axis=0) // (scene.window.half / 20.0)).tolist()) for ring in rings}
        covered = max(len(rings) / len(middles), sum(min(_area(ring), whole) for ring in rings) / whole)
        fill, line = 0.09 / covered, 0.55 / math.sqrt(covered)
        axes.add_collection(PolyCollection(rings, facecolors=_colour(kind), linewidths=0, alpha=fill, zorder=1))
        _paint_lines(axes, scene.outlines[kind], _colour(kind), 0.8, line, 1.1)


def _paint_tracks(axes: Any, scene: Scene, domain: Domain) -> None:
    from matplotlib.collections import EllipseCollection

    colour, live = DOMAIN_COLOURS[domain], scene.live(domain)
    ended = [u for u in scene.last.values() if u.domain == domain and u.status == "TERMINATED"]
    for long_ago, alpha in ((True, _ENDED_ALPHA / 2.5), (False, _ENDED_ALPHA)):
        tails = [scene.tails[u.track_id] for u in ended if (u.time < scene.strong_from) == long_ago]
        _paint_lines(axes, tails, colour, 0.8, alpha, 4.0)
    _paint_lines(axes, [scene.tails[u.track_id] for u in live], colour, 1.0, 0.4, 4.5)
    _paint_lines(axes, [scene.tails[u.track_id][scene.recent[u.track_id] :] for u in live], colour, 1.8, 0.9, 5.0)
    if not live:
        return
    ends = np.array([scene.tails[u.track_id][-1] for u in live])
    seconds = 600.0 if domain in ("SEA", "UNKNOWN") else 120.0
    ahead = scene.ahead(live, [u.course_deg for u in live], [u.speed_mps * seconds for u in live])
    _paint_lines(axes, list(np.stack([ends, ahead], axis=1)), _INK, 1.0, 1.0, 6.0)
    width, height, angle = scene.ellipses(live, ends)
    axes.add_collection(
        EllipseCollection(
            width,
            height,
            angle,
            units="xy",
            offsets=ends,
            offset_transform=axes.transData,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.1,
            zorder=7,
        )
    )
    coasting = np.array([u.status == "COASTING" for u in live])
    for which, inside in ((~coasting, colour), (coasting, "white")):
        axes.scatter(*ends[which].T, c=inside, s=20, zorder=8, linewidths=0.9, edgecolors=colour)


def _graticule(axes: Any, scene: Scene, window: Window) -> None:
    """Meridians and parallels with their degrees, at the left and the lower edge."""
    edge = np.linspace(-window.half, window.half, 41)
    lat, lon = scene.degrees(np.stack(np.meshgrid(window.x + edge, window.y + edge), axis=-1).reshape(-1, 2))
    lon0 = math.degrees(math.atan2(scene.centre[1], scene.centre[0]))
    east = (lon - lon0 + 180.0) % 360.0 - 180.0
    step = _round_step(max(float(np.ptp(lat)), 1e-3) / 3.0)
    parallels = np.arange(math.ceil(lat.min() / step), math.floor(lat.max() / step) + 1) * step
    wide = _round_step(max(float(np.ptp(east)), 1e-3) / 3.0)
    first, last = math.ceil((lon0 + east.min()) / wide), math.floor((lon0 + east.max()) / wide)
    meridians = np.arange(first, last + 1) * wide
    along = np.linspace(0.0, 1.0, 200)
    lines = []
    for value in parallels:
        line = scene.plane(np.column_stack([np.full(200, value), lon0 + east.min() + along * np.ptp(east)]))
        lines.append(line)
        _label(axes, window, line, f"{abs(value):g}°{'N' if value > 0 else 'S' if value < 0 else ''}", 0)
    for value in meridians:
        line = scene.plane(np.column_stack([lat.min() + along * np.ptp(lat), np.full(200, value)]))
        lines.append(line)
        turn = (value + 180.0) % 360.0 - 180.0
        _label(axes, window, line, f"{abs(turn):g}°{'E' if 0 < turn else 'W' if -180 < turn < 0 else ''}", 1)
    _paint_lines(axes, lines, "#DDE3E8", 0.7, 1.0, 0.5)


def _legend(axes: Any, scene: Scene) -> None:
    """What is drawn how, with its numbers."""
    axes.set_axis_off()
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    y = 0.985

    def heading(text: str, right: str = "") -> None:
        nonlocal y
        axes.text(0.0, y, text, fontsize=13, fontweight="bold", color=_INK, va="center")
        axes.text(1.0, y, right, fontsize=11, color="#555555", va="center", ha="right")
        y -= 0.052

    def row(text: str, right: str = "") -> float:
        nonlocal y
        axes.text(0.15, y, text, fontsize=12, color=_INK, va="center")
        axes.text(1.0, y, right, fontsize=12, color=_INK, va="center", ha="right")
        y -= 0.046
        return y + 0.046

    heading("Tracks", "live / ended")
    for domain in reversed(DOMAINS):
        live, ended = scene.live(domain), scene.ended(domain)
        if live or ended:
            at = row(domain.lower(), f"{len(live):,} / {ended:,}")
            axes.plot([0.0, 0.1], [at, at], color=DOMAIN_COLOURS[domain], linewidth=2)
            axes.scatter([0.1], [at], color=DOMAIN_COLOURS[domain], s=30)
    y -= 0.02
    coasting = sum(u.status == "COASTING" for u in scene.last.values())
    axes.scatter([0.05], [row("coasting", f"{coasting:,}")], c="white", edgecolors=_INK, s=30)
    at = row("ended")
    axes.plot([0.0, 0.1], [at, at], color=DOMAIN_COLOURS["AIR"], linewidth=0.8, alpha=_ENDED_ALPHA)
    at = row("next 10 min (air, ground: 2)")
    axes.plot([0.0, 0.1], [at, at], color=_INK, linewidth=1)
    from matplotlib.patches import Ellipse

    axes.add_patch(Ellipse((0.05, row("95 % ellipse")), 0.1, 0.022, facecolor="none", edgecolor=_INK))
    if scene.truth:
        at = row("truth", f"{len(scene.truth):,} objects")
        axes.plot([0.0, 0.1], [at, at], color=_TRUTH, linewidth=1)
    if scene.looks:
        y -= 0.025
        heading("Looks", "detections / looks")
        for kind, count in sorted(scene.looks.items()):
            at = row(kind, f"{scene.seen[kind]:,} / {count:,}")
            axes.scatter([0.08], [at], color=_colour(kind), s=16)
            if kind in scene.footprints:
                box = ([0.0, 0.05, 0.05, 0.0, 0.0], [at - 0.012, at - 0.012, at + 0.012, at + 0.012, at - 0.012])
                axes.plot(*box, color=_colour(kind), linewidth=1)


def _scale_bar(axes: Any, window: Window) -> None:
    length = _round_step(window.half / 3.0)
    right, low = window.x + 0.95 * window.half, window.y - 0.94 * window.half
    axes.plot([right - length, right], [low, low], color=_INK, linewidth=3, solid_capstyle="butt", zorder=20)
    text = {"ha": "center", "va": "bottom", "fontsize": 11, "color": _INK, "zorder": 20}
    axes.text(right - length / 2, low + 0.012 * window.half, f"{length:g} km", **text)


def _label(axes: Any, window: Window, line: FloatArray, text: str, edge: int) -> None:
    """Write where a line of the graticule meets the left (0) or the lower (1) edge of the window, if it does."""
    low = (window.x if edge == 0 else window.y) - window.half
    side = line[:, edge] - low
    for k in np.flatnonzero(side[:-1] * side[1:] <= 0.0):
        a, b = line[k], line[k + 1]
        share = side[k] / (side[k] - side[k + 1]) if side[k] != side[k + 1] else 0.0
        at = float((a + share * (b - a))[1 - edge])
        place = (at - (window.y if edge == 0 else window.x)) / window.half
        # Neither in a corner nor where the scale is.
        if -0.95 < place < (0.95 if edge == 0 else 0.5):
            look = {"fontsize": 9, "color": "#6B7280", "zorder": 19, "clip_on": True}
            spot = (low + 0.012 * window.half, at) if edge == 0 else (at, low + 0.012 * window.half)
            axes.text(*spot, text, ha="left", va="bottom", **look)


def _paint_lines(axes: Any, lines: list[FloatArray], colour: str, width: float, alpha: float, order: float) -> None:
    """Draw lines (k, 2) in km, without leaps round the far edge of the plane."""
    from matplotlib.collections import LineCollection

    pieces = []
    for line in lines:
        leaps = np.flatnonzero(np.hypot(*np.diff(line, axis=0).T) > _LEAP_KM) + 1
        pieces += [piece for piece in np.split(line, leaps) if len(piece) > 1]
    axes.add_collection(LineCollection(pieces, colors=colour, linewidths=width, alpha=alpha, zorder=order))


def _colour(kind: str) -> str:
    return _LOOK_COLOURS.get(kind, "#777777")


def _area(ring: FloatArray) -> float:
    x, y = ring.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2.0


def _round_step(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not more."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(k * power for k in (5.0, 2.0, 1.0) if k * power <= value * (1 + 1e-9))

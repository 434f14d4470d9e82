"""Metrics over time as a picture."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apss_fusion.evaluation.figures import OverTime

#: What the name of a picture may end in.
SUFFIXES = (".png", ".svg")
# Colours that also the colour-blind can tell apart (Okabe and Ito 2008).
_COLOURS = {"localisation": "#009E73", "missed": "#0072B2", "false": "#D55E00"}
_TOTAL, _OSPA, _OSPA2 = "#222222", "#CC79A7", "#7A5195"


def plot_over_time(figures: OverTime, path: Path, title: str = "Tracks against truth") -> None:
    """Draw GOSPA with its parts, OSPA and OSPA(2), and the numbers of objects and tracks over the truth times.

    Parameters
    ----------
    figures
        What :meth:`apss_fusion.evaluation.figures.Figures.over_time` tells.
    path
        A name that ends in ``.png`` or ``.svg``.
    title
        Stands above.

    Raises
    ------
    RuntimeError
        If matplotlib is not installed (the extra ``plot``).
    ValueError
        On another ending.
    """
    figure_class = _figure_class()
    check_suffix(path)
    figure = figure_class(figsize=(11, 8), dpi=110, facecolor="white", layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    first, second, third = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    times = [datetime.fromtimestamp(t * 1e-6, UTC) for t in figures.times_us.tolist()]
    first.plot(times, figures.gospa["total"], color=_TOTAL, linewidth=1.8, label="GOSPA")
    for name, colour in _COLOURS.items():
        first.plot(times, figures.gospa[name], color=colour, linewidth=1.1, label=name)
    _dress(first, "GOSPA, m")
    second.plot(times, figures.ospa, color=_OSPA, linewidth=1.3, label="OSPA")
    if figures.ospa2 is not None:
        second.plot(times, figures.ospa2, color=_OSPA2, linewidth=1.3, label="OSPA(2), of the window before")
    _dress(second, "m an object")
    third.step(times, figures.objects, where="mid", color=_TOTAL, linewidth=1.6, label="objects")
    third.step(times, figures.tracks, where="mid", color=_COLOURS["missed"], linewidth=1.2, label="tracks")
    _dress(third, "number")
    third.set_xlabel("UTC")
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def check_suffix(path: Path) -> None:
    """Raise ValueError unless the name of a picture ends in one of ``SUFFIXES``."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: the name of a picture ends in {' or '.join(SUFFIXES)}")


def check_installed() -> None:
    """Raise RuntimeError if matplotlib is not installed."""
    _figure_class()


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("a picture needs matplotlib: install apss-fusion[plot]") from error
    return Figure


def _dress(axes: Any, label: str) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)

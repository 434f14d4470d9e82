"""``apss-fusion evaluate``: tracks against truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apss_fusion.cli.errors import CommandError, problem

if TYPE_CHECKING:
    from apss_fusion.evaluation import EvaluationOptions
    from apss_fusion.evaluation.figures import Figures

NAME = "evaluate"
HELP = "Compare track updates with truth: GOSPA, OSPA, completeness, accuracy and consistency, as means over the times."
EXAMPLE = "Example: apss-fusion evaluate --truth made/truth.ndjson --tracks tracks.ndjson --json"


def command(
    truth: Annotated[str, typer.Option("--truth", metavar="FILE", help="Lines of truth, as simulate writes them.")],
    tracks: Annotated[str, typer.Option("--tracks", metavar="FILE", help="Lines of track updates, as fuse writes.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw the metrics over time, into a .png or .svg.")
    ] = None,
    c_sea: Annotated[float, typer.Option("--c-sea", metavar="METRES", help="Cut-off at sea.")] = 1_000.0,
    c_air: Annotated[float, typer.Option("--c-air", metavar="METRES", help="Cut-off in the air.")] = 5_000.0,
    c_ground: Annotated[float, typer.Option("--c-ground", metavar="METRES", help="Cut-off on the ground.")] = 300.0,
    p: Annotated[float, typer.Option("--p", metavar="ORDER", help="Order of the metrics.")] = 2.0,
    window: Annotated[
        int, typer.Option("--ospa2-window", metavar="TIMES", help="Truth times that OSPA(2) looks back.")
    ] = 20,
    switch_share: Annotated[
        float, typer.Option("--switch-share", metavar="SHARE", help="T-GOSPA's price of a switch, of the cut-off.")
    ] = 1.0,
    weights: Annotated[
        int, typer.Option("--t-gospa-weights", metavar="N", help="No T-GOSPA where more is to be solved; 0 for never.")
    ] = 300_000,
) -> int:
    """Compare track updates with truth."""
    import msgspec

    from apss_fusion.evaluation import EvaluationOptions, table

    if plot is not None:
        _check_plot(Path(plot), truth, tracks)
    options = EvaluationOptions(
        sea_c_m=c_sea,
        air_c_m=c_air,
        ground_c_m=c_ground,
        p=p,
        ospa2_window=window,
        switch_share=switch_share,
        t_gospa_weights=weights,
    )
    figures = _figures(Path(truth), Path(tracks), options)
    result = figures.everything()
    typer.echo(msgspec.json.encode(result).decode() if as_json else table(result))
    if plot is not None:
        _draw(figures, Path(plot))
    return 0


def compare(truth: Path, tracks: Path) -> dict[str, Any]:
    """The metrics with the usual options; `CommandError` where a file cannot be read."""
    from apss_fusion.evaluation import EvaluationOptions

    return _figures(truth, tracks, EvaluationOptions()).everything()


def _figures(truth: Path, tracks: Path, options: EvaluationOptions) -> Figures:
    from apss_fusion.evaluation import compare

    try:
        return compare(truth, tracks, options)
    except OSError as error:
        raise problem(str(error.filename or truth), error) from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    except RuntimeError as error:
        raise CommandError(str(error), 1) from None


def _check_plot(path: Path, *inputs: str) -> None:
    """Refuse before anything is read what could not be drawn in the end."""
    from apss_fusion.evaluation.plot import check_installed, check_suffix

    try:
        check_suffix(path)
        check_installed()
    except ValueError as error:
        raise CommandError(f"--plot {error}") from None
    except RuntimeError as error:
        raise CommandError(f"--plot: {error}") from None
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--plot {path}: there is no folder {path.parent}")
    if path.exists() and any(Path(name).exists() and path.samefile(name) for name in inputs):
        raise CommandError(f"--plot {path}: this is an input, which would be overwritten")


def _draw(figures: Figures, path: Path) -> None:
    from apss_fusion.evaluation.plot import plot_over_time

    try:
        plot_over_time(figures.over_time(), path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}", 1) from None

"""``apss-fusion evaluate``: tracks against truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from apss_fusion.cli.errors import CommandError, problem

NAME = "evaluate"
HELP = "Compare track updates with truth: GOSPA, OSPA, completeness, accuracy and consistency, as means over the times."
EXAMPLE = "Example: apss-fusion evaluate --truth made/truth.ndjson --tracks tracks.ndjson --json"


def command(
    truth: Annotated[str, typer.Option("--truth", metavar="FILE", help="Lines of truth, as simulate writes them.")],
    tracks: Annotated[str, typer.Option("--tracks", metavar="FILE", help="Lines of track updates, as fuse writes.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    c_sea: Annotated[float, typer.Option("--c-sea", metavar="METRES", help="Cut-off at sea.")] = 1_000.0,
    c_air: Annotated[float, typer.Option("--c-air", metavar="METRES", help="Cut-off in the air.")] = 5_000.0,
    c_ground: Annotated[float, typer.Option("--c-ground", metavar="METRES", help="Cut-off on the ground.")] = 300.0,
    p: Annotated[float, typer.Option("--p", metavar="ORDER", help="Order of the metrics.")] = 2.0,
) -> int:
    """Compare track updates with truth."""
    result = compare(Path(truth), Path(tracks), c_sea, c_air, c_ground, p)
    import msgspec

    from apss_fusion.evaluation import table

    typer.echo(msgspec.json.encode(result).decode() if as_json else table(result))
    return 0


def compare(
    truth: Path, tracks: Path, c_sea: float = 1_000.0, c_air: float = 5_000.0, c_ground: float = 300.0, p: float = 2.0
) -> dict[str, Any]:
    """The metrics; `CommandError` where a file cannot be read or a number is out of range."""
    from apss_fusion.evaluation import EvaluationOptions, evaluate

    try:
        return evaluate(truth, tracks, EvaluationOptions(sea_c_m=c_sea, air_c_m=c_air, ground_c_m=c_ground, p=p))
    except OSError as error:
        raise problem(str(error.filename or truth), error) from None
    except ValueError as error:
        raise CommandError(str(error)) from None

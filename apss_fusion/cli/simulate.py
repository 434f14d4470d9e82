"""``apss-fusion simulate``: a virtual constellation over known traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, problem, say

if TYPE_CHECKING:
    from apss_fusion.simulation import SimulationSummary

NAME = "simulate"
HELP = "Simulate a constellation: writes looks.ndjson (in order of arrival), truth.ndjson and sources.toml."
EXAMPLE = "Example: apss-fusion simulate scenario.toml --out made"


def command(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO.toml", help="Region, traffic and satellites.")],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder to write to; made if it is not there.")],
) -> int:
    """Simulate a constellation."""
    made = simulate(Path(scenario), Path(out))
    from apss_fusion.cli.words import count, kinds

    say(
        f"{count(made.looks, 'look', 'looks')} ({made.empty_looks:,} empty) by "
        f"{count(made.sources, 'source', 'sources')} of {kinds(made.objects)} in {out}"
    )
    return 0


def simulate(scenario: Path, out: Path) -> SimulationSummary:
    """Run a scenario into a folder; `CommandError` of status 2 before, of status 1 after anything was written."""
    from apss_fusion.simulation import load, run

    try:
        loaded = load(scenario)
    except OSError as error:
        raise problem(str(scenario), error) from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise problem(str(out), error) from None
    try:
        return run(loaded, out)
    except ValueError as error:
        raise CommandError(f"{scenario}: {error}") from None
    except OSError as error:
        raise CommandError(f"{error.filename or out}: {error.strerror or error}", 1) from None

"""``apss-fusion demo``: a constellation simulated, fused, compared with the truth and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apss_fusion.cli.errors import CommandError, say

if TYPE_CHECKING:
    from apss_fusion.model import Source

NAME = "demo"
HELP = "Simulate the constellation that comes with the program, fuse it, compare it with the truth and draw it."
EXAMPLE = "Example: apss-fusion demo --out demo"
_DOMAINS = {"SEA": "ships", "AIR": "aircraft", "GROUND": "vehicles"}


def command(
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder to write to; made if it is not there.")],
) -> int:
    """Simulate, fuse, compare and draw."""
    from apss_fusion.cli import words
    from apss_fusion.cli.evaluate import compare
    from apss_fusion.cli.fuse import read_sources
    from apss_fusion.cli.running import run
    from apss_fusion.cli.simulate import simulate
    from apss_fusion.replay.pipeline import FuseJob, Outcome, Progress, fuse
    from apss_fusion.replay.pipeline_stop import Stop
    from apss_fusion.simulation import DEMO
    from apss_fusion.tracking.config import Config

    folder = Path(out)
    say("simulating two hours of traffic and the satellites above it")
    made = simulate(DEMO, folder)
    sources = read_sources(str(folder / "sources.toml"))
    job = FuseJob(
        inputs=(str(folder / "looks.ndjson"),),
        out=str(folder / "tracks.ndjson"),
        config=Config.of(),
        sources=sources,
        deadletter=str(folder / "deadletters.ndjson"),
        summary=str(folder / "summary.json"),
    )
    outcomes: list[Outcome] = []

    def fused(stop: Stop, progress: Progress | None) -> Outcome:
        outcomes.append(fuse(job, stop, progress))
        return outcomes[0]

    status = run("fusing", fused, lambda summary: [words.fused(summary, job.deadletter)])
    if status:
        return status
    result = compare(folder / "truth.ndjson", folder / "tracks.ndjson")
    drawn = _draw(folder, sources)
    typer.echo(_report(made, outcomes[0].summary, result, sources))
    typer.echo(_files(folder, drawn))
    return 0


def _draw(folder: Path, sources: dict[str, Source]) -> bool:
    from apss_fusion.outputs.picture_png import draw

    try:
        draw(
            folder / "tracks.ndjson",
            folder / "looks.ndjson",
            folder / "truth.ndjson",
            folder / "picture.png",
            sources=sources,
            title="A virtual constellation over the western Mediterranean",
        )
    except RuntimeError as error:
        say(str(error))
        return False
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror or error}", 1) from None
    return True


def _report(made: Any, summary: dict[str, Any], result: dict[str, Any], sources: dict[str, Source]) -> str:
    nations = len({source.nation for source in sources.values() if source.nation})
    lines = [
        f"{summary['looks']:,} looks with {summary['detections']:,} detections by {made.sources} satellites of "
        f"{nations} nations, fused in {summary['seconds']:.1f} s "
        f"({summary['detections_per_second']:,.0f} detections a second)",
        "",
        f"{'':<12}{'really there':>14}{'confirmed':>12}{'found':>8}{'of the time':>13}{'false':>8}{'error':>10}",
    ]
    for domain, name in _DOMAINS.items():
        part = result["domains"].get(domain)
        if part is not None:
            error_m = part["position_error_m"]["median"]
            lines.append(
                f"{name:<12}{part['objects']:>14,}{summary['tracks_by_domain'].get(domain, 0):>12,}"
                f"{_percent(part['objects_found']):>8}{_percent(part['completeness']):>13}"
                f"{_percent(part['spurious']):>8}{'-' if error_m is None else f'{error_m:,.0f} m':>10}"
            )
    lines += [
        "",
        "found: objects that had a track at any time; of the time: share of all true positions that have a track;",
        "false: share of tracks where nothing is; error: median distance of a track from its object.",
    ]
    return "\n".join(lines)


def _files(folder: Path, drawn: bool) -> str:
    rows = {
        "tracks.ndjson": "the tracks, one update a line",
        "looks.ndjson": "what the satellites reported, in order of arrival",
        "truth.ndjson": "where everything really was",
        "sources.toml": "the register of the satellites",
        "summary.json": "where every record went",
        "deadletters.ndjson": "what could not be used",
    }
    if drawn:
        rows = {"picture.png": "the picture at the end"} | rows
    width = max(26, *(len(str(folder / name)) for name in rows)) + 2
    return "\n" + "\n".join(f"{folder / name!s:<{width}}{what}" for name, what in rows.items())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"

"""``apss-fusion topics list``, ``apply`` and ``diff``: the topics of the data against a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, say

if TYPE_CHECKING:
    from apss_fusion.streaming.settings import Settings

NAME = "topics"
HELP = "Make the topics of a deployment on its cluster, or see what differs. Nothing is ever deleted or made smaller."

app = typer.Typer(help=HELP, epilog="Example: apss-fusion topics apply --bootstrap localhost:9092")

_Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="The cluster; several brokers with commas between them."),
]
_Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings of the deployment."),
]


@app.command("list", epilog="Example: apss-fusion topics list")
def list_command(bootstrap: _Bootstrap = None, config: _Config = None) -> int:
    """List the topics, what is in them and how they are kept; with --bootstrap, also whether the cluster has them."""
    from apss_fusion.streaming.topic_admin import topic_table

    with _errors():
        settings, regions = _deployment(config, bootstrap)
        lines = topic_table(settings, regions, on_cluster=bootstrap is not None)
    for line in lines:
        typer.echo(line)
    return 0


@app.command("apply", epilog="Example: apss-fusion topics apply --bootstrap localhost:9092")
def apply_command(bootstrap: _Bootstrap = None, config: _Config = None) -> int:
    """Make missing topics, add partitions, set what is configured otherwise; status 1 where something differs still."""
    from apss_fusion.streaming.topic_admin import apply_topics

    changes: list[str] = []

    def tell(line: str) -> None:
        changes.append(line)
        typer.echo(line)

    with _errors(changes):
        settings, regions = _deployment(config, bootstrap)
        left = apply_topics(settings, regions, tell)
    for difference in left:
        say(f"left as it is: {difference.text}")
    if not changes and not left:
        say("the cluster has all topics as they should be")
    return 1 if left else 0


@app.command("diff", epilog="Example: apss-fusion topics diff --bootstrap localhost:9092")
def diff_command(bootstrap: _Bootstrap = None, config: _Config = None) -> int:
    """Print a line for everything that the cluster has otherwise; status 1 where there is any."""
    from apss_fusion.streaming.topic_admin import diff_topics

    with _errors():
        settings, regions = _deployment(config, bootstrap)
        differing = diff_topics(settings, regions)
    for difference in differing:
        typer.echo(difference.text)
    return 1 if differing else 0


def _deployment(config: str | None, bootstrap: str | None) -> tuple[Settings, int]:
    """The settings, and how many regions they name."""
    from apss_fusion.streaming.regions import Regions
    from apss_fusion.streaming.settings import read_settings

    settings = read_settings(config, bootstrap=bootstrap)
    return settings, len(Regions.read(settings.regions))


@contextmanager
def _errors(changes: list[str] | None = None) -> Iterator[None]:
    """Errors of the settings and the cluster: status 2, or 1 once there are changes."""
    from apss_fusion.streaming.clients import ClusterError
    from apss_fusion.streaming.regions import RegionsError
    from apss_fusion.streaming.settings import SettingsError

    try:
        yield
    except (SettingsError, RegionsError, ClusterError) as error:
        raise CommandError(str(error), 1 if changes else 2) from None

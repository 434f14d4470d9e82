"""``apss-fusion worker``: the agents that decode and fuse beside Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError

if TYPE_CHECKING:
    from apss_fusion.streaming.settings import Settings

NAME = "worker"
HELP = (
    "Decode feeds and fuse looks beside Kafka: as many workers as you like, started and stopped at any time. A worker "
    "whose process ends is started again; SIGTERM ends it in order."
)
EXAMPLE = "Example: apss-fusion worker --bootstrap localhost:9092 --config deployment.toml"

Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="Brokers to ask first (default: localhost:9092)."),
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings of the deployment; APSS_... variables override them."),
]


def command(
    bootstrap: Bootstrap = None,
    config: ConfigFile = None,
    once: Annotated[
        bool, typer.Option("--once", help="End with the first process: something else starts the worker again.")
    ] = False,
) -> int:
    """Run a worker."""
    settings = read(config, bootstrap)
    from apss_fusion.streaming.clients import ClusterError
    from apss_fusion.streaming.deployment import read_deployment
    from apss_fusion.streaming.settings import SettingsError
    from apss_fusion.streaming.supervisor import supervise
    from apss_fusion.streaming.topic_admin import check_topics

    try:
        deployment = read_deployment(settings)
        wrong = check_topics(settings, len(deployment.regions))
    except (SettingsError, ClusterError) as error:
        raise CommandError(str(error)) from None
    if wrong:
        more = f" (and {len(wrong) - 1} more; apss-fusion topics diff tells all)" if len(wrong) > 1 else ""
        raise CommandError(wrong[0] + more)
    return supervise(settings, once)


def read(path: str | None, bootstrap: str | None) -> Settings:
    """The settings; `CommandError` where they are wrong."""
    import os

    from apss_fusion.streaming.settings import SettingsError, read_settings

    try:
        return read_settings(path, os.environ, bootstrap)
    except SettingsError as error:
        raise CommandError(str(error)) from None

"""The command ``apss-fusion``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main() -> None:
    """Run the command line of this process, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit status. What is wrong with it is one line on standard error."""
    from apss_fusion.cli.app import invoke

    return invoke(arguments)

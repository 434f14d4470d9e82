"""A virtual constellation over known traffic: looks to fuse, and the truth to compare the tracks with."""

from pathlib import Path

from apss_fusion.simulation.run import SimulationSummary, run
from apss_fusion.simulation.scenario import Scenario, load

#: The scenario of the demonstration.
DEMO = Path(__file__).with_name("demo.toml")

__all__ = ["DEMO", "Scenario", "SimulationSummary", "load", "run"]

"""Shared by all tests: where recorded feeds are, brokers, and deterministic property tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from kafka_tools import kafka, own_kafka

settings.register_profile(
    "apss", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("apss")

#: Fixtures for every test; their module says what they do.
__all__ = ["kafka", "own_kafka", "recorded"]

#: The recorded feeds lie beside the checkout, or where APSS_FUSION_FEEDS says; they are never part of it.
FEEDS = Path(os.environ.get("APSS_FUSION_FEEDS") or Path(__file__).resolve().parents[2] / "shared" / "data")


def recorded(name: str) -> Path:
    """The path of a recorded feed; skips the test where it is absent."""
    path = FEEDS / name
    if not path.exists():
        pytest.skip(f"needs the recorded feed {name}, which is not part of the project")
    return path

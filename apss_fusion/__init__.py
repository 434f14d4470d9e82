"""Streaming situational-awareness fusion: many space sensors, one picture."""

__version__ = "0.1.0"

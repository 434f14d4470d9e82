"""Recorded feeds played into an engine."""

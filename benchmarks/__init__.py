"""Measurements: every figure of the documentation is printed by a command in this folder."""

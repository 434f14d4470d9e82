"""Faults of workers and brokers under load, and whether what is published and kept is that of an undisturbed run."""

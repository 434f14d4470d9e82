"""Archived tracks smoothed backwards: what is known of a moment from all that came before and after it."""

from apss_fusion.smoothing.files import SmoothingSummary, smooth_file

__all__ = ["SmoothingSummary", "smooth_file"]

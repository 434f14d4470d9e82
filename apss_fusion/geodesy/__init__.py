"""The globe: the WGS 84 ellipsoid, H3 cells, error ellipses and footprints."""

from apss_fusion.geodesy.ellipse import covariance_of_ellipse, ellipse_of_covariance, sigma_axes
from apss_fusion.geodesy.footprint import Footprint, chance_inside, inside, signed_distance_m
from apss_fusion.geodesy.h3cells import cells_of, nvec_to_cell, parent_of
from apss_fusion.geodesy.wgs84 import (
    convergence_rad,
    east_of,
    ecef,
    frame_rotation,
    geodetic,
    geodetic_of_ecef,
    moved,
    nvectors,
    offset,
    radii,
)

__all__ = [
    "Footprint",
    "cells_of",
    "chance_inside",
    "convergence_rad",
    "covariance_of_ellipse",
    "east_of",
    "ecef",
    "ellipse_of_covariance",
    "frame_rotation",
    "geodetic",
    "geodetic_of_ecef",
    "inside",
    "moved",
    "nvec_to_cell",
    "nvectors",
    "offset",
    "parent_of",
    "radii",
    "sigma_axes",
    "signed_distance_m",
]

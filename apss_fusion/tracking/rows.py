"""The rows of the engine's arrays: one structured dtype each, and what every field means.

Positions are n-vectors (unit normals of the WGS 84 ellipsoid). Covariances are on the local tangent plane, east then north:
``e, n`` position in m, ``a, b`` velocity east and north in m/s. Times are seconds since 1970 UTC as float64 (exact to the
microsecond until 2250) or integer microseconds where the name ends in ``_us``. NaN is unknown.
"""

from __future__ import annotations

import numpy as np

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.motion import STATE

#: The rest of what a track is. STATE, ALTITUDE and BELIEF of a track are a pure function of the looks that touched it.
BELIEF = np.dtype(
    [
        ("r", "f8"),  # probability of existence, as set at time tr; it decays from there
        ("tr", "f8"),
        ("seen", "f8"),  # time of the last detection
        ("factor", "f8"),  # of its process noise on that of its domain
        ("interval_s", "f8"),  # mean time between its detections; 0 before the second
        ("key", "u8"),  # order among tracks: hash of the founding detection
        ("id1", "u8"),  # hash of the likeliest identity, 0 for none, and its probability
        ("p1", "f8"),
        ("id2", "u8"),
        ("p2", "f8"),
        ("attributes", "i8"),  # number of the interned ids and class, 0 for none
        ("length_m", "f4"),
        ("length_var", "f4"),
        ("width_m", "f4"),
        ("domain", "i1"),
        ("status", "i1"),
        ("several", "i1"),  # two detections or more
        ("datum", "i1"),  # of the altitude
    ]
)

#: Where a track stands in the index, and what has been published of it. Never part of what a track is.
LINK = np.dtype(
    [
        ("due", "f8"),  # when something about it changes by itself
        ("fx", "f4"),  # filed position
        ("fy", "f4"),
        ("fz", "f4"),
        ("cid", "i4"),  # cell where it is filed, -1 for none
        ("next", "i4"),
        ("prev", "i4"),
        ("tick", "i4"),  # slot of the calendar, -1 for none
        ("tick_next", "i4"),
        ("tick_prev", "i4"),
        ("id1_next", "i4"),  # next track with the same identity, by which of the two
        ("id2_next", "i4"),
        ("stamp", "i4"),  # last look that asked for it
        ("seq", "i4"),  # of the last published update
        ("detections", "i4"),
        ("contributor", "i4"),  # first entry of the contributor list, -1 for none
        ("contributors", "i4"),  # how long it is
        ("sources", "i4"),  # number of the interned set of contributing sources
        ("changed", "i1"),  # since changes() was last asked
        ("alive", "i1"),
        ("told", "i1"),  # whether readers hold the track: its last published update did not end it
    ],
    align=True,
)

#: One source's part in a track; a linked list.
CONTRIBUTOR = np.dtype([("last", "f8"), ("source", "i4"), ("n", "i4"), ("next", "i4")], align=True)

#: A look as the filter wants it.
LOOK = np.dtype(
    [
        ("time_us", "i8"),
        ("received_us", "i8"),
        ("end_us", "i8"),
        ("t", "f8"),
        ("id_hash", "u8"),
        ("content", "u8"),  # hash of everything but the arrival time
        ("first", "i8"),  # first detection in the batch
        ("count", "i8"),
        ("id_at", "i8"),  # look_id in the batch's text
        ("id_length", "i4"),
        ("source", "i4"),
        ("footprint", "i4"),  # number of the footprint, -1 for none
        ("cooperative", "i1"),
        ("may_initiate", "i1"),
        ("spare", "i2"),
        ("p_detect", "f8"),
        ("clutter_per_m2", "f8"),
        ("min_speed_mps", "f8"),
    ]
)

#: A detection as the filter wants it.
DETECTION = np.dtype(
    [
        ("x", "f8"),
        ("y", "f8"),
        ("z", "f8"),
        ("dt", "f8"),  # seconds after the look's time
        ("ree", "f8"),  # R of the position, m^2
        ("ren", "f8"),
        ("rnn", "f8"),
        ("va", "f8"),  # velocity east and north and its R, NaN for none
        ("vb", "f8"),
        ("vaa", "f8"),
        ("vab", "f8"),
        ("vbb", "f8"),
        ("rate", "f8"),  # range rate along (le, ln) and its variance, NaN for none
        ("rate_var", "f8"),
        ("le", "f8"),  # horizontal part of the unit vector from the sensor to the object
        ("ln", "f8"),
        ("alt", "f8"),
        ("alt_var", "f8"),
        ("climb", "f8"),
        ("climb_var", "f8"),
        ("length_m", "f8"),
        ("width_m", "f8"),
        ("key", "u8"),  # hash of source, look and detection ids: the order key of a track founded by it
        ("identity", "u8"),  # hash of its identity, 0 for none
        ("texts", "u8"),  # hash of its ids and class
        ("attributes", "i8"),
        ("id_at", "i8"),
        ("id_length", "i4"),
        ("domain", "i1"),
        ("datum", "i1"),
        ("spare", "i2"),
    ]
)

#: A published update: the track as it was right then.
UPDATE = np.dtype(
    [
        ("state", STATE),
        ("altitude", ALTITUDE),
        ("belief", BELIEF),
        ("time_us", "i8"),
        ("revised_us", "i8"),  # -1 for none
        ("track", "i8"),  # slot in the bank
        ("look", "i8"),  # in the batch, -1 where the calendar caused it
        ("evidence", "i8"),  # first row of EVIDENCE, and how many
        ("evidence_n", "i8"),
        ("contributors", "i8"),  # first row of CONTRIBUTOR snapshots, and how many
        ("contributors_n", "i8"),
        ("seq", "i4"),
        ("detections", "i4"),
        ("sources", "i4"),
        ("status", "i1"),
        ("reason", "i1"),
        ("flags", "i2"),
    ]
)

#: A detection that an update used: its number in the batch and its probability to be of this track.
EVIDENCE = np.dtype([("weight", "f8"), ("detection", "i8")])

TENTATIVE, CONFIRMED, COASTING, TERMINATED = 0, 1, 2, 3
STATUS_NAMES = ("TENTATIVE", "CONFIRMED", "COASTING", "TERMINATED")
NO_REASON, LOST, UNCERTAIN, WITHDRAWN = 0, 1, 2, 3
REASON_NAMES = (None, "LOST", "UNCERTAIN", "WITHDRAWN")
SEA, GROUND, AIR, UNKNOWN = 0, 1, 2, 3
DOMAIN_NAMES = ("SEA", "GROUND", "AIR", "UNKNOWN")
NO_DATUM = 0
DATUM_NAMES = (None, "HAE", "MSL", "BARO", "AGL")
#: Bits of an update's flags.
FLAG_ID_CONFLICT, FLAG_PENDING = 1, 2
FLAG_NAMES = ("id_conflict", "pending")

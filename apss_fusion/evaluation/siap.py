"""SIAP: the attributes of a single integrated air picture.

Votruba et al. 2001, "Single Integrated Air Picture (SIAP) metrics implementation". Each track is associated with one
object at most at a time, an object with any number of tracks. Association is the caller's; times weigh by what is there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class TrackRows(NamedTuple):
    """Tracks at times, one a row, (k,) each."""

    #: Index of the time, the track, and the object that it is associated with then, or -1.
    time: IntArray
    track: IntArray
    object: IntArray
    #: Errors of associated tracks; NaN where not known (and where there is no object).
    position_error: FloatArray
    velocity_error: FloatArray


class Siap(NamedTuple):
    """The attributes; None where there is nothing to divide by."""

    #: Share of objects that have a track, over times.
    completeness: float | None
    #: Tracks of an object that has any.
    ambiguity: float | None
    #: Share of tracks that have no object.
    spuriousness: float | None
    #: Mean errors of associated tracks, in the units that they were given in.
    position_accuracy: float | None
    velocity_accuracy: float | None
    #: Changes of track number a second of tracked time, with no more changes than needed.
    track_change_rate_hz: float | None
    #: Time of the longest unbroken association with one track, as a share of an object's life; over objects.
    longest_track_segment: float | None


class _Segments(NamedTuple):
    """Unbroken associations of an object with a track: the first and last of the object's rows; by object and first."""

    object: IntArray
    first: IntArray
    last: IntArray


def siap(times_s: ArrayLike, truth_time: ArrayLike, truth_object: ArrayLike, tracks: TrackRows) -> Siap:
    """The SIAP attributes of objects and of tracks associated with them.

    An association goes on from one of its object's times to the next if the track has it at both; it lasts from the
    first of these times to the last.

    Parameters
    ----------
    times_s
        Times (T,), ascending, in s.
    truth_time, truth_object
        Index of the time and of the object, one row for each time an object is there, (n,) each, in any order.
    tracks
        The tracks at these times.

    Raises
    ------
    ValueError
        If times do not ascend, an object or a track is twice at a time, or a track has an object that is not there.
    """
    seconds = np.asarray(times_s, np.float64)
    time, item = np.asarray(truth_time, np.int64), np.asarray(truth_object, np.int64)
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise ValueError("times must ascend")
    # The objects' rows, sorted by object, then time; a key for each.
    keys = np.sort(item * len(seconds) + time)
    track_keys = tracks.track * len(seconds) + tracks.time
    if (np.diff(keys) == 0).any() or (np.diff(np.sort(track_keys)) == 0).any():
        raise ValueError("an object or a track is twice at a time")
    of_object, at_s = (keys // len(seconds), seconds[keys % len(seconds)]) if len(keys) else (keys, np.empty(0))
    held = tracks.object >= 0
    wanted = tracks.object[held] * len(seconds) + tracks.time[held]
    row = np.searchsorted(keys, wanted)
    if len(wanted) and (not len(keys) or (keys[np.minimum(row, len(keys) - 1)] != wanted).any()):
        raise ValueError("a track is associated with an object that is not there")
    segments = _segments(of_object, row, tracks.track[held])
    same = np.diff(of_object) == 0
    tracked = float(np.sum(np.diff(at_s)[same & _covered(segments, len(keys))[:-1]])) if len(keys) else 0.0
    found = int(np.count_nonzero(np.bincount(row, minlength=1)))
    return Siap(
        completeness=_share(found, len(keys)),
        ambiguity=_share(len(wanted), found),
        spuriousness=_share(len(held) - len(wanted), len(held)),
        position_accuracy=_known_mean(tracks.position_error[held]),
        velocity_accuracy=_known_mean(tracks.velocity_error[held]),
        track_change_rate_hz=_share(_changes(segments), tracked),
        longest_track_segment=_share(_longest(segments, at_s), float(np.sum(np.diff(at_s)[same]))),
    )


def _segments(of_object: IntArray, row: IntArray, track: IntArray) -> _Segments:
    order = np.lexsort((row, track, of_object[row]))
    row, track = row[order], track[order]
    new = np.ones(len(row), np.bool_)
    new[1:] = (np.diff(row) != 1) | (np.diff(track) != 0) | (np.diff(of_object[row]) != 0)
    begin = np.flatnonzero(new)
    first, last = row[begin], row[np.append(begin[1:], len(row)) - 1] if len(row) else row
    order = np.argsort(first, kind="stable")
    return _Segments(of_object[first[order]], first[order], last[order])


def _covered(segments: _Segments, rows: int) -> BoolArray:
    """Whether a row and the next one lie in one segment, (rows,)."""
    change = np.zeros(rows + 1, np.int64)
    np.add.at(change, segments.first, 1)
    np.add.at(change, segments.last, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)


def _changes(segments: _Segments) -> int:
    """The fewest segments that cover an object's tracked rows, less one, summed over objects.

    Of the segments that cover the first row not covered yet, the one that goes on longest is taken. Rows go on from
    object to object, segments do not, so one pass does for all.
    """
    first, last = segments.first.tolist(), segments.last.tolist()
    needed, covered, longest, i = 0, -1, -1, 0
    while True:
        while i < len(first) and first[i] <= covered + 1:
            longest = max(longest, last[i])
            i += 1
        if longest > covered:
            needed, covered = needed + 1, longest
        elif i < len(first):
            covered = first[i] - 1
        else:
            return needed - len(np.unique(segments.object))


def _longest(segments: _Segments, at_s: FloatArray) -> float:
    """The longest segment of each object in s, summed."""
    if not len(segments.object):
        return 0.0
    _, number = np.unique(segments.object, return_inverse=True)
    longest = np.zeros(number.max() + 1)
    np.maximum.at(longest, number, at_s[segments.last] - at_s[segments.first])
    return float(longest.sum())


def _known_mean(errors: FloatArray) -> float | None:
    known = errors[~np.isnan(errors)]
    return float(known.mean()) if len(known) else None


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None

"""What the lag window keeps: looks, versions of tracks, interactions, writes to cells, and the index of the past.

Everything is an array with a number of used rows, so that compiled code makes no room itself. Numbers of looks are rows of
`Window.look`; a row number of -1 stands for none, or for what lies before the window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.history import row_width
from apss_fusion.estimation.motion import STATE
from apss_fusion.tracking.rows import BELIEF, DETECTION, LOOK

#: A version of a track: its rows after a look that touched it (look -1: before the window). Versions of a track are a list in
#: the order of their looks, those of a look are another.
TOUCH = np.dtype(
    [
        ("state", STATE),
        ("altitude", ALTITUDE),
        ("belief", BELIEF),
        ("look", "i4"),
        ("track", "i4"),
        ("before", "i4"),
        ("after", "i4"),
        ("next", "i4"),  # of the look
        ("cluster", "i4"),  # in the look
        ("detection", "i4"),  # its own, or the one that founded it; -1 for none
        ("flags", "i4"),
    ]
)
#: Flags of a touch: the track ended here, was founded here, the look's source shaped it.
ENDED, BORN, SHARES = 1, 2, 4
#: 8-byte words of a touch that are the track's rows.
ROW_WORDS = (STATE.itemsize + ALTITUDE.itemsize + BELIEF.itemsize) // 8

#: What is known of a look beside its row.
SEEN = np.dtype(
    [
        ("block", "i8"),  # number of the block of records that it is in; 0 for none
        ("touches", "i4"),  # first of the versions that it made
        ("clusters", "i4"),  # cluster numbers given so far
        ("tie", "i4"),  # place among the looks of the same time
        ("same", "i4"),  # next look of the same time
        ("waiting", "i1"),  # what it waits for in the heap, bits of WHOLE and CELLS
        ("alive", "i1"),  # in the window
        ("fused", "i1"),
    ],
    align=True,
)
#: A look is weighed as a whole, or because the intensity that it read is another.
WHOLE, CELLS = 1, 2

#: What a look made of a detection.
HEARD = np.dtype(
    [
        ("bar", "f8"),  # weight that an edge needs to exist
        ("expected", "f8"),  # density of undetected objects that it was held against, 1/m^2
        ("mass", "f4"),  # existence that it gave back to its cell (a multiple of 2^-20 below 0.1, so exact)
        ("cluster", "i4"),
        ("born", "i4"),  # track that it founded
        ("spare", "i4"),
    ]
)

#: What the window keeps of a track, by slot of the bank.
TRACKED = np.dtype(
    [
        ("filed_from", "f8"),  # since when it is filed where it is
        ("first", "i4"),  # version, and the last
        ("last", "i4"),
        ("end_write", "i4"),  # what it gave back to a cell when it ended by itself
        ("change", "i4"),  # row of CHANGE while a wave is under way
        ("waiting", "i4"),  # entries in the heap
        ("base_contributor", "i4"),  # contributors before the window, as a list, and the rest of that ledger
        ("base_contributors", "i4"),
        ("base_sources", "i4"),
        ("base_detections", "i4"),
        ("look", "i4"),  # that founded it, and its detection; -1 where that has left the window
        ("detection", "i4"),
        ("spare", "i4"),
        ("told_us", "i8"),  # time of the last published update
    ]
)

#: Where a track was filed, and from when to when.
FILED = np.dtype([("start", "f8"), ("stop", "f8"), ("key", "u8"), ("track", "i4"), ("next", "i4")])

#: A node of the lists that BUCKET rows lead to: (look, detection), or a track.
NODE = np.dtype([("a", "i4"), ("b", "i4"), ("next", "i4")])
BUCKET = np.dtype([("key", "u8"), ("head", "i4"), ("spare", "i4")])
#: Kinds of list: detections by cell and time at a level, those whose own reach needs that level, looks with a footprint by
#: time, detections by identity, tracks by identity, looks of a time, filings by cell.
AT_LEVEL, NATIVE, FOOTPRINT, IDENTITY, CARRIER, TIME, FILING = range(7)

#: A write to a cell of the intensity; those of a cell are a list in their order: by time, by look (-1: what happened before the
#: looks of that time), by kind, by `order`.
WRITE = np.dtype(
    [
        ("t", "f8"),
        ("factor", "f8"),
        ("add", "f8"),  # of a READ, since when the cell holds its value
        ("value", "f8"),  # of the cell afterwards
        ("key", "u8"),  # of the cell
        ("order", "u8"),  # among the writes of one look or moment
        ("look", "i4"),
        ("kind", "i4"),
        ("before", "i4"),
        ("after", "i4"),
    ]
)
#: Kinds of write, in their order within a look. A BASE is what the cell held before the window; a READ changes nothing; an EVENT
#: is the mass of a track that ended by itself.
BASE, READ, THIN, TRACK_MASS, BIRTH_MASS, EVENT = range(6)

#: A place in time to be visited: a look, and the track that differs there (-1: the look itself waits).
VISIT = np.dtype([("look", "i4"), ("track", "i4")])

#: A track that a wave has changed: its rows before, whether it lived, from when it changed, and its evidence in the late look.
CHANGE = np.dtype(
    [
        ("state", STATE),
        ("altitude", ALTITUDE),
        ("belief", BELIEF),
        ("from_us", "i8"),
        ("weight", "f8"),
        ("detection", "i8"),
        ("track", "i4"),
        ("alive", "i4"),
    ]
)

#: Places in `Window.n`. The first group counts used rows.
LOOKS, DETECTIONS, TOUCHES, FILINGS, NODES, BUCKETS, WRITES, VISITS, CHANGES = range(9)
#: First of the freed touches and writes; the newest look; whether the window is kept; whether what is done is told; where an
#: arrival stands; the next change to settle; clusters that may still be weighed; the first look and detection of the batch.
TOUCH_FREE, WRITE_FREE, NEWEST, KEPT, TOLD, STAGE, SETTLED, BUDGET, BATCH_LOOK, BATCH_DETECTION = range(9, 19)
#: Bytes of text; looks that records were made of; the first look that has arrived since nothing was pending. Looks have their
#: numbers in the order of their arrival.
TEXT, RECORDED, CLEAN = 39, 38, 37
#: What a call wants room for: touches, writes to cells, and detections or clusters of a look.
WANTED_TOUCHES, WANTED_WRITES, WANTED_DETECTIONS = 40, 41, 42
#: Of the work since it was last asked for: clusters at a look's own place and afterwards, places, tracks and updates.
WORK_FIRST, WORK_AGAIN, WORK_PLACES, WORK_TRACKS, WORK_UPDATES = range(19, 24)
#: Looks in the window; late looks, revisions and withdrawn tracks so far.
ALIVE, LATE_LOOKS, REVISED, WITHDRAWN_TRACKS = range(24, 28)
#: From here on, by level: detections whose own reach needs that level.
NATIVES = 28
SCALARS = 48


class Window(NamedTuple):
    """The arrays."""

    n: NDArray[np.int64]
    now: NDArray[np.float64]  # time of the newest look that was fused, (1,); -inf before the first
    look: NDArray[np.void]
    detection: NDArray[np.void]
    text: NDArray[np.uint8]
    seen: NDArray[np.void]
    heard: NDArray[np.void]
    track: NDArray[np.void]
    touch: NDArray[np.void]
    touch_words: NDArray[np.uint64]  # the same memory as `touch`
    touch_history: NDArray[np.float64]  # histories by touch, and by change
    change_history: NDArray[np.float64]
    filed: NDArray[np.void]
    node: NDArray[np.void]
    bucket: NDArray[np.void]
    write: NDArray[np.void]
    visit: NDArray[np.void]
    change: NDArray[np.void]
    change_words: NDArray[np.uint64]  # the same memory as `change`
    rank: NDArray[np.int64]  # place of each source in the order of names
    slot: NDArray[np.int64]  # by row of the desk: the track, and its touch at the look in work
    slot_touch: NDArray[np.int64]
    desk: NDArray[np.void]  # detections on the desk, and the number of each in the look
    picked: NDArray[np.int64]
    marked: NDArray[np.int64]  # by cluster of the look in work
    differing: NDArray[np.int64]  # tracks that differ at the look in work; later the order of CHANGE rows
    old: NDArray[np.void]  # a TOUCH row to work in
    old_words: NDArray[np.uint64]  # the same memory
    old_history: NDArray[np.float64]


def words(rows: NDArray[np.void]) -> NDArray[np.uint64]:
    """The rows as 8-byte words, (n, itemsize / 8), the same memory."""
    return rows.view(np.uint64).reshape(len(rows), rows.dtype.itemsize // 8)


def new_window(tracks: int, looks: int = 0, histories: int = 0) -> Window:
    """An empty window with room for so many looks, beside a bank of so many tracks with so many histories each.

    Without room for any look, it is not kept.
    """
    width = row_width(histories)
    touch, change, old = np.zeros(2 * looks, TOUCH), np.zeros(looks, CHANGE), np.zeros(1, TOUCH)
    n = np.zeros(SCALARS, np.int64)
    n[[TOUCH_FREE, WRITE_FREE, NEWEST]] = -1
    n[KEPT], n[TOLD] = looks > 0, 1
    track = np.zeros(tracks if looks else 0, TRACKED)
    clear_tracks(track)
    desk = max(looks, 1)
    return Window(
        n=n,
        now=np.full(1, -np.inf),
        look=np.zeros(looks, LOOK),
        detection=np.zeros(2 * looks, DETECTION),
        text=np.zeros(64 * looks, np.uint8),
        seen=np.zeros(looks, SEEN),
        heard=np.zeros(2 * looks, HEARD),
        track=track,
        touch=touch,
        touch_words=words(touch),
        touch_history=np.zeros((2 * looks, width)),
        change_history=np.zeros((looks, width)),
        filed=np.zeros(2 * looks, FILED),
        node=np.zeros(16 * looks, NODE),
        bucket=np.zeros(1 << max(4, (16 * looks).bit_length()), BUCKET),
        write=np.zeros(4 * looks, WRITE),
        visit=np.zeros(2 * looks, VISIT),
        change=change,
        change_words=words(change),
        rank=np.zeros(1, np.int64),
        slot=np.zeros(desk, np.int64),
        slot_touch=np.zeros(desk, np.int64),
        desk=np.zeros(desk, DETECTION),
        picked=np.zeros(desk, np.int64),
        marked=np.zeros(2 * desk, np.int64),
        differing=np.zeros(2 * desk, np.int64),
        old=old,
        old_words=words(old),
        old_history=np.zeros((1, width)),
    )


def clear_tracks(rows: NDArray[np.void]) -> None:
    """Make TRACKED rows those of slots without a track."""
    for name in ("first", "last", "end_write", "change", "base_contributor", "look"):
        rows[name] = -1

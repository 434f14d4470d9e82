"""What a reader of track updates counts while they come: tracks by kind, the last updates, those that ended."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import Struct

from apss_fusion.model import TrackUpdate

_DECODER = msgspec.json.Decoder(TrackUpdate)
_ENDED = "TERMINATED"


class Live(Struct, frozen=True):
    """What is shown of a live track."""

    domain: str
    name: str
    lat: float
    lon: float
    time: datetime
    speed_mps: float
    #: Of the sources that saw it.
    sources: int
    nations: int


class LivePicture:
    """The live tracks by track_id, and what came so far."""

    def __init__(self, last: int = 8) -> None:
        self.tracks: dict[str, Live] = {}
        self.updates = 0
        self.ended = 0
        self.time: datetime | None = None
        #: The newest updates, newest first, as (status, track).
        self.newest: deque[tuple[str, Live]] = deque(maxlen=last)
        self._seen: set[str] = set()

    @property
    def seen(self) -> int:
        """Tracks that ever came."""
        return len(self._seen)

    def take(self, updates: Iterable[bytes]) -> None:
        """Take updates as JSON, in their order; `msgspec.MsgspecError` for what is none."""
        for text in updates:
            update = _DECODER.decode(text)
            self.updates += 1
            self._seen.add(update.track_id)
            self.time = update.time if self.time is None else max(self.time, update.time)
            track = _live(update)
            self.newest.appendleft((update.status, track))
            if update.status == _ENDED:
                self.ended += self.tracks.pop(update.track_id, None) is not None
            else:
                self.tracks[update.track_id] = track

    def by_domain(self) -> dict[str, int]:
        """How many live tracks there are of each domain."""
        return dict(Counter(track.domain for track in self.tracks.values()))


def _live(update: TrackUpdate) -> Live:
    names = (update.ids.get(key) for key in ("name", "callsign", "mmsi", "icao24"))
    return Live(
        domain=update.domain,
        name=next((name for name in names if name), update.track_id[:8]),
        lat=update.lat,
        lon=update.lon,
        time=update.time,
        speed_mps=update.speed_mps,
        sources=len(update.contributors),
        nations=len({one.nation for one in update.contributors if one.nation}),
    )

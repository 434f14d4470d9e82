"""The uninterrupted run: what the records of the feeds and of `looks` must give, beside what the brokers have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from typing import Any, NamedTuple

import msgspec

from apss_fusion.feeds.base import Decoded, Decoder, Reject
from apss_fusion.feeds.registry import decoder_named
from apss_fusion.model import Look
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming.deployment import Deployment
from apss_fusion.tracking.engine import Engine

from .records import Place, Records, last_of_keys
from .watch import Mark

_CHUNK = 500
_MOST_TEXT, _MOST_DETECTIONS = 8192, 20_000
_BLOCKS = b"looks:"
#: A look that is longer is a dead letter: of 8 MiB, something is left for the headers.
_MOST_LOOK_BYTES = 8 * 2**20 - 9000
#: What a record of `looks` may say of itself.
_EXPECTED = {
    "ce_specversion": b"1.0",
    "ce_type": b"apss.look.v1",
    "ce_dataschema": b"urn:apss-fusion:Look:1",
}


class DecodedLook(NamedTuple):
    """A look as one region gets it."""

    origin: tuple[int, int]
    value: bytes


class DecodedFeeds(NamedTuple):
    """What the records of the feeds give, without interruption."""

    #: By partition of the feed and partition of the looks.
    looks: dict[tuple[Place, int], list[DecodedLook]]
    #: Keys of the dead letters, as often as there is one.
    dead_letters: Counter[str]


def decode_feeds(deployment: Deployment, feeds: Records) -> DecodedFeeds:
    """Decode each partition of the feeds from its beginning."""
    out = DecodedFeeds({}, Counter())
    for place, records in feeds.items():
        topic, partition = place
        kind = decoder_named(topic.removeprefix(deployment.settings.topic("feeds.")))
        # Each input has its own.
        inputs: dict[bytes, Decoder] = {}
        for r in records:
            if r.key not in inputs:
                inputs[r.key] = kind()
                if hasattr(kind, "more_follows"):
                    inputs[r.key].more_follows = True  # type: ignore[attr-defined]
            decoder = inputs[r.key]
            key = f"{topic}/{partition}/{r.offset}"
            if r.value is None:
                out.dead_letters[key] += 1
                continue
            count = 0
            for item in decoder.items(BytesIO(r.value)):
                if isinstance(item, Reject):
                    out.dead_letters[key] += 1
                elif isinstance(item, Look | Decoded):
                    look = item if isinstance(item, Look) else item.look
                    for number, part in deployment.regions.route(look):
                        value = look_json(part).rstrip()
                        if len(value) > _MOST_LOOK_BYTES:
                            out.dead_letters[key] += 1
                        else:
                            decoded = DecodedLook((r.offset, count), value)
                            out.looks.setdefault((place, number), []).append(decoded)
                    count += 1
    return out


class Counts(msgspec.Struct, rename={"records_in": "in", "updates_out": "out"}):
    """What a run has come to. All but the first five must be 0."""

    #: Records of the feeds, and looks that came without a feed.
    records_in: int = 0
    #: Records of `looks`, without those that say again what an earlier one says.
    looks: int = 0
    #: Looks that were decoded again after a fault.
    looks_again: int = 0
    #: Updates that readers of committed records see, and those that only others see.
    updates_out: int = 0
    updates_aborted: int = 0
    tombstones: int = 0
    dead_letters: int = 0
    #: Updates that readers of committed records see twice, or that no reader sees, or that are others.
    duplicates: int = 0
    lost: int = 0
    differing: int = 0
    #: Looks of feeds that are not in `looks`, or are others there.
    looks_lost: int = 0
    looks_differing: int = 0
    #: Updates that are not what they are elsewhere, for readers of records that were not committed.
    uncommitted_differing: int = 0
    tombstones_wrong: int = 0
    dead_letters_wrong: int = 0
    #: Tracks, cells of the intensity and marks of the kept state that are not those of the reference.
    state_differing: int = 0
    keys_missing: int = 0
    #: Keys of the kept state that the reference has no more: what is remembered of ended tracks is kept longer after a start.
    keys_left: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is lost, doubled or different."""
        wrong = (
            self.duplicates,
            self.lost,
            self.differing,
            self.looks_lost,
            self.looks_differing,
            self.uncommitted_differing,
            self.tombstones_wrong,
            self.dead_letters_wrong,
            self.state_differing,
            self.keys_missing,
        )
        return not any(wrong) and self.updates_out > 0


class _Accepted(NamedTuple):
    looks: list[Look]
    #: Offsets of the records that the looks stand in.
    offsets: list[int]
    origins: dict[str, tuple[int, int]]


class Comparison:
    """Compares what the brokers have with the reference; `counts` and `notes` say what came of it."""

    def __init__(self, deployment: Deployment, decoded: DecodedFeeds) -> None:
        self._deployment, self._decoded = deployment, decoded
        self._topic = deployment.settings.topic
        self._expected_dead = Counter(decoded.dead_letters)
        self.counts = Counts()
        self.notes: list[str] = []

    def compare(self, committed: Records, uncommitted: Records) -> Counts:
        """Compare all topics; `uncommitted` has those of the tracks."""
        regions = len(self._deployment.regions)
        feeds = [place for place in committed if place[0].startswith(self._topic("feeds."))]
        self.counts.records_in = sum(len(committed[place]) for place in feeds)
        self._compare_looks(committed)
        for number in range(regions):
            engine, mark, changes = self._compare_tracks(committed, uncommitted, number)
            self._compare_state(committed[self._topic("fuse-changelog"), number], engine, mark, changes)
        self._compare_dead_letters(committed)
        return self.counts

    def _note(self, text: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(text)

    # ------------------------------------------------------------------ looks

    def _compare_looks(self, committed: Records) -> None:
        """Whether each partition of `looks` has what the feeds give, in its order, but for what is there again."""
        for (place, number), expected in self._decoded.looks.items():
            found: list[DecodedLook] = []
            first: dict[tuple[int, int], bytes] = {}
            for r in committed[self._topic("looks"), number]:
                try:
                    origin = _origin(r)
                except ValueError:
                    continue
                if origin is None or origin[0] != place:
                    continue
                if found and origin[1] <= found[-1].origin:
                    self.counts.looks_again += 1
                    self.counts.looks_differing += first.get(origin[1]) != r.value
                else:
                    found.append(DecodedLook(origin[1], r.value))
                    first[origin[1]] = r.value
            has = {look.origin: look.value for look in found}
            for look in expected:
                if look.origin not in has:
                    self.counts.looks_lost += 1
                    self._note(f"{place[0]}/{place[1]}/{look.origin[0]} is lost for region {number}")
                elif has[look.origin] != look.value:
                    self.counts.looks_differing += 1
                    self._note(f"{place[0]}/{place[1]}/{look.origin[0]} is another in region {number}")
            extra = len(has.keys() - {look.origin for look in expected})
            self.counts.looks_differing += extra

    def _accepted(self, records: Iterable[Any], number: int) -> _Accepted:
        """The looks of a partition that are to be fused."""
        decoder = decoder_named("looks")()
        out = _Accepted([], [], {})
        for r in records:
            key = f"{self._topic('looks')}/{number}/{r.offset}"
            try:
                origin = _origin(r)
            except ValueError:
                self._expected_dead[key] += 1
                continue
            if origin is None:
                self.counts.records_in += 1
            else:
                place = f"{origin[0][0]}/{origin[0][1]}"
                if origin[1] <= out.origins.get(place, (-1, -1)):
                    continue
                out.origins[place] = origin[1]
            self.counts.looks += 1
            other = any(name in _EXPECTED and value != _EXPECTED[name] for name, value in r.headers)
            if other or not (r.value or b"").strip() or _is_too_large(r.value):
                self._expected_dead[key] += 1
                continue
            # A record is a look, also where it has line ends.
            for item in decoder.items(BytesIO(b" ".join(r.value.splitlines()))):
                if isinstance(item, Look):
                    out.looks.append(item)
                    out.offsets.append(r.offset)
                elif isinstance(item, Reject):
                    self._expected_dead[key] += 1
        return out

    # ------------------------------------------------------------------ updates

    def _compare_tracks(
        self, committed: Records, uncommitted: Records, number: int
    ) -> tuple[Engine, Mark, dict[str, bytes]]:
        records = committed[self._topic("looks"), number]
        accepted = self._accepted(records, number)
        engine = Engine(self._deployment.config, self._deployment.sources)
        expected: list[bytes] = []
        kept: dict[str, bytes] = {}
        for at in range(0, len(accepted.looks), _CHUNK):
            expected += bytes(encode(engine.process_many(accepted.looks[at : at + _CHUNK]))).splitlines()
            for rejected in engine.rejected():
                if rejected.kind != "duplicate":
                    key = f"{self._topic('looks')}/{number}/{accepted.offsets[rejected.number]}"
                    self._expected_dead[key] += 1
            for name, value in engine.changes():
                if value is None:
                    kept.pop(name, None)
                else:
                    kept[name] = value
        place = self._topic("tracks"), number
        self._compare_updates(committed[place], expected, number)
        self._compare_uncommitted(uncommitted[place], expected, number)
        return engine, Mark(records[-1].offset if records else -1, accepted.origins), kept

    def _compare_updates(self, records: list[Any], expected: list[bytes], number: int) -> None:
        want = [_name(line) for line in expected]
        lines = dict(zip(want, expected, strict=True))
        found: dict[tuple[str, int], bytes] = {}
        order = []
        ending: bytes | None = None
        for r in records:
            if ending is not None or r.value is None:
                self.counts.tombstones += r.value is None
                self.counts.tombstones_wrong += r.value is not None or r.key != ending
                ending = None
                if r.value is None:
                    continue
            name = _name(r.value)
            self.counts.updates_out += 1
            if name in found:
                self.counts.duplicates += 1
                self._note(f"update {name} is there twice in region {number}")
            found[name] = r.value
            order.append(name)
            if lines.get(name) != r.value:
                self.counts.differing += 1
                self._note(f"update {name} of region {number} is {r.value!r}, not {lines.get(name)!r}")
            if b'"status":"TERMINATED"' in r.value:
                ending = r.key
        self.counts.tombstones_wrong += ending is not None
        self.counts.lost += len(lines.keys() - found.keys())
        for name in list(lines.keys() - found.keys())[:3]:
            self._note(f"update {name} of region {number} is lost")
        if self.counts.lost == self.counts.differing == self.counts.duplicates == 0 and order != want:
            self.counts.differing += sum(a != b for a, b in zip(order, want, strict=True))
            self._note(f"updates of region {number} are in another order")

    def _compare_uncommitted(self, records: list[Any], expected: list[bytes], number: int) -> None:
        lines = {_name(line): line for line in expected}
        again = Counter[tuple[str, int]]()
        for r in records:
            if r.value is not None:
                name = _name(r.value)
                again[name] += 1
                if lines.get(name) != r.value:
                    self.counts.uncommitted_differing += 1
                    self._note(f"uncommitted update {name} of region {number} is {r.value!r}, not {lines.get(name)!r}")
        self.counts.updates_aborted += sum(count - 1 for count in again.values())

    # ------------------------------------------------------------------ state

    def _compare_state(self, records: list[Any], engine: Engine, mark: Mark, kept: dict[str, bytes]) -> None:
        found = last_of_keys(records)
        value = found.pop(b"watermark", None)
        has = Mark(-1, {}) if value is None else msgspec.json.decode(value, type=Mark)
        if has != mark:
            self.counts.state_differing += 1
            self._note(f"the mark is {has}, not {mark}")
        loaded = Engine(self._deployment.config, self._deployment.sources)
        if found:
            loaded.load((key.decode(), value) for key, value in found.items())
        for kind, a, b in (
            ("track", loaded.state().tracks, engine.state().tracks),
            ("cell", loaded.state().cells, engine.state().cells),
        ):
            wrong = [key for key in a.keys() | b.keys() if a.get(key) != b.get(key)]
            self.counts.state_differing += len(wrong)
            for key in wrong[:3]:
                self._note(f"{kind} {key} of the state is another")
        # The blocks that looks stand in are cut as chunks are.
        keys = {key.decode() for key in found if not key.startswith(_BLOCKS)}
        kept = {key: value for key, value in kept.items() if not key.startswith(_BLOCKS.decode())}
        self.counts.keys_left += len(keys - kept.keys())
        self.counts.keys_missing += len(kept.keys() - keys)
        for key in sorted(kept.keys() - keys)[:3]:
            self._note(f"key {key} is missing")

    # ------------------------------------------------------------------ dead letters

    def _compare_dead_letters(self, committed: Records) -> None:
        found: Counter[str] = Counter()
        seen: dict[str, set[bytes]] = {}
        for (topic, _), records in committed.items():
            if topic == self._topic("deadletters"):
                for r in records:
                    found[r.key.decode()] += 1
                    seen.setdefault(r.key.decode(), set()).add(r.value)
                    self.counts.dead_letters_wrong += _misplaced(r)
        self.counts.dead_letters = len(found)
        for key in found.keys() | self._expected_dead.keys():
            # A record of a feed may be decoded again: the same letters again.
            again = (
                found[key] >= self._expected_dead[key] if "feeds." in key else found[key] == self._expected_dead[key]
            )
            if not again or key not in self._expected_dead:
                self.counts.dead_letters_wrong += 1
                self._note(f"{found[key]} dead letters of {key}, not {self._expected_dead[key]}")


def _misplaced(record: Any) -> bool:
    """Whether a dead letter does not say where its record stands, and why it was not used."""
    letter = msgspec.json.decode(record.value)
    key = f"{letter['topic']}/{letter['partition']}/{letter['offset']}"
    return bool(key != record.key.decode() or not letter["reason"])


def _origin(record: Any) -> tuple[Place, tuple[int, int]] | None:
    for name, value in record.headers:
        if name == "origin":
            # A ValueError where it is another form.
            topic, *numbers = value.decode("ascii").split("/")
            if not topic or not all(number.isdigit() and len(number) <= 18 for number in numbers):
                raise ValueError(value)
            partition, offset, index = map(int, numbers)
            return (topic, partition), (offset, index)
    return None


def _is_too_large(value: bytes) -> bool:
    """Whether a look has more detections or longer texts than there is room for in a region's records."""
    if len(value) <= _MOST_TEXT:
        return False
    texts = re.findall(rb'"((?:[^"\\]|\\.)*)"', value)
    attributes = re.findall(rb'"(?:ids|class_probs)":\{([^{}]*)\}', value)
    return (
        value.count(b'"detection_id"') > _MOST_DETECTIONS
        or any(len(text) > _MOST_TEXT for text in texts)
        or any(len(text) > 2 * _MOST_TEXT for text in attributes)
    )


class _Numbered(msgspec.Struct):
    track_id: str
    seq: int


_decode = msgspec.json.Decoder(_Numbered).decode


def _name(line: bytes) -> tuple[str, int]:
    update = _decode(line)
    return update.track_id, update.seq

"""The topics as data: what `topics/*.toml` says of each, and what a deployment makes of it.

A format's topic needs no file of its own: `feeds.toml` stands for one topic of each decoder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from apss_fusion.feeds.registry import decoders
from apss_fusion.streaming.headers import DEAD_LETTER, LOOK, TRACK, Kind
from apss_fusion.streaming.settings import Settings, SettingsError

FEEDS = "feeds."
LOOKS = "looks"
TRACKS = "tracks"
DEAD_LETTERS = "deadletters"
FUSE_CHANGELOG = "fuse-changelog"
DECODE_CHANGELOG = "decode-changelog"

CLEANUP_POLICY = "cleanup.policy"
MIN_INSYNC_REPLICAS = "min.insync.replicas"

#: The kinds of events, by the name that the data calls them.
KINDS: Mapping[str, Kind] = MappingProxyType({kind.type: kind for kind in (LOOK, TRACK, DEAD_LETTER)})

_FORMAT = "{format}"


class Example(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record as it may stand in a topic; without a value it is a tombstone."""

    key: str
    value: str | None = None
    #: Of a feed.
    format: str | None = None
    #: The attributes of an event, and the header of a look.
    id: str | None = None
    subject: str | None = None
    time: str | None = None
    origin: str | None = None


class Topic(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One topic by its short name, before a deployment's prefix."""

    name: str
    purpose: str
    #: What the key and the value of a record are.
    key: str
    value: str
    #: As many as settings.topics.feed_partitions says, or one a region.
    partitions: Literal["feeds", "regions"]
    configs: dict[str, str | int | float]
    #: File of `topics/schemas/` that values follow.
    schema: str | None = None
    #: Type of the event that a record is, one of `KINDS`.
    event: Literal["apss.look.v1", "apss.track.v1", "apss.deadletter.v1"] | None = None
    #: Headers beside those of an event.
    headers: tuple[str, ...] = ()
    #: Whether a record without a value removes its key.
    tombstones: bool = False
    #: Whether only workers read it.
    internal: bool = False
    examples: tuple[Example, ...] = ()

    @property
    def compacted(self) -> bool:
        """Whether only the last record of each key is kept."""
        return "compact" in str(self.configs[CLEANUP_POLICY]).split(",")


class TopicSpec(NamedTuple):
    """A topic as a deployment wants it on its cluster."""

    name: str
    topic: Topic
    partitions: int
    replication: int
    configs: dict[str, str]


def folder() -> Traversable:
    """The folder ``topics``: within the installed package, or at the top of a checkout."""
    packaged = files("apss_fusion") / "topics"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "topics"


@cache
def topics() -> tuple[Topic, ...]:
    """All topics in the order of the flow: one of feeds for each decoder, looks, tracks, dead letters, changelogs."""
    by_name = {topic.name: topic for topic in topic_files()}
    feeds = by_name.pop(FEEDS + _FORMAT)
    rest = [by_name.pop(name) for name in (LOOKS, TRACKS, DEAD_LETTERS, DECODE_CHANGELOG, FUSE_CHANGELOG)]
    if by_name:
        raise ValueError(f"topics/: {', '.join(sorted(by_name))}: no part of the flow")
    formats = sorted((decoder.name, decoder.title) for decoder in decoders())
    return (*(_of_format(feeds, name, title) for name, title in formats), *rest)


def topic_files() -> list[Topic]:
    """What the files say; ValueError with the file's name where one says something else than a `Topic`."""
    found = []
    for file in sorted(folder().iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            try:
                found.append(msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Topic))
            except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
                raise ValueError(f"topics/{file.name}: {error}") from None
    return found


def topic_specs(settings: Settings, regions: int) -> list[TopicSpec]:
    """The topics as the settings and a number of regions want them, without feeds of formats that the settings leave out.

    Raises
    ------
    SettingsError
        A prefix that no topic's name may begin with.
    """
    replication = settings.topics.replication_factor
    partitions = {"feeds": settings.topics.feed_partitions, "regions": regions}
    specs = []
    for topic in topics():
        if settings.formats is not None and topic.name.startswith(FEEDS):
            if topic.name.removeprefix(FEEDS) not in settings.formats:
                continue
        name = settings.topic(topic.name)
        if re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) is None:
            raise SettingsError(
                f"topics.prefix {settings.topics.prefix!r}: {name!r} is no topic's name: "
                "letters, digits, '.', '_' and '-', at most 249"
            )
        configs = {key: str(value) for key, value in topic.configs.items()}
        # A record that is acknowledged stands on two brokers, wherever there are two.
        configs[MIN_INSYNC_REPLICAS] = str(min(2, replication))
        specs.append(TopicSpec(name, topic, partitions[topic.partitions], replication, configs))
    return specs


def example_headers(topic: Topic, example: Example, source: str) -> list[tuple[str, bytes]]:
    """The headers that an example's record has."""
    from apss_fusion.streaming.headers import ORIGIN, constant_headers, event_headers

    made: list[tuple[str, bytes]] = []
    if topic.event is not None and example.value is not None:
        parts = [(part or "").encode() for part in (example.id, example.subject, example.time)]
        made = event_headers(constant_headers(KINDS[topic.event], source), parts[0], parts[1], parts[2])
    if example.origin is not None:
        made.append((ORIGIN, example.origin.encode()))
    return made


def _of_format(feeds: Topic, name: str, title: str) -> Topic:
    examples: Sequence[Example] = [example for example in feeds.examples if example.format == name]
    return msgspec.structs.replace(
        feeds,
        name=feeds.name.replace(_FORMAT, name),
        purpose=f"{feeds.purpose} The format: {title}.",
        examples=tuple(examples),
    )

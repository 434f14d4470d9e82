"""The topics of the data against a cluster: what differs, what is made so, and whether a worker may start.

Nothing is ever deleted, and no partition is taken away: what stands in the way of that is said, and left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    LeaderNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from apss_fusion.streaming.clients import ClusterError, admin_client, cluster_error
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_data import (
    CLEANUP_POLICY,
    DECODE_CHANGELOG,
    FEEDS,
    FUSE_CHANGELOG,
    LOOKS,
    MIN_INSYNC_REPLICAS,
    TRACKS,
    TopicSpec,
    topic_specs,
)

#: What a topic keeps, in ms and in bytes a partition; -1 is all.
_RETENTION = ("retention.ms", "retention.bytes")

#: How long a change may take until the broker that is asked shows it.
_SEEN_S = 10.0
_POLL_S = 0.02

_APPLY = "`apss-fusion topics apply`"


class Found(NamedTuple):
    """A topic as it is on the cluster."""

    partitions: int
    replication: int
    #: All its configuration, also what is the cluster's default.
    configs: dict[str, str | None]


class Difference(NamedTuple):
    """What the cluster has otherwise than the data says, in one line; `mend` is None where it is not for us to change."""

    spec: TopicSpec
    text: str
    #: "make", "partitions", or the key of a configuration.
    mend: str | None


def find_topics(client: KafkaAdminClient, settings: Settings, names: Iterable[str]) -> dict[str, Found]:
    """Those of `names` that the cluster has; `ClusterError` where it may not say."""
    names = list(names)
    found: dict[str, dict[str, Any]] = {}
    for topic in client.describe_topics(names):
        error = for_code(topic["error_code"])
        if error in (NoError, LeaderNotAvailableError):
            found[topic["name"]] = topic
        elif error is not UnknownTopicOrPartitionError:
            raise cluster_error(settings, error(topic["name"]))
    if not found:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
    configs = client.describe_configs(resources, config_filter="all").get("topic", {})
    for name in [name for name in found if not configs.get(name)]:
        # The library tells no refusal from a broker that has not heard of the topic yet.
        if "DESCRIBE_CONFIGS" not in found[name].get("authorized_operations", ()):
            raise ClusterError(f"cluster {settings.bootstrap}: no authorisation to read the configuration of {name}")
        del found[name]
    return {
        name: Found(
            len(topic["partitions"]),
            min((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=0),
            {key: config["value"] for key, config in configs[name].items()},
        )
        for name, topic in found.items()
    }


def differences(specs: Iterable[TopicSpec], found: Mapping[str, Found]) -> list[Difference]:
    """Everything in which the cluster differs from the data, topic by topic. What the data does not name is not looked at."""
    differing: list[Difference] = []
    for spec in specs:
        has = found.get(spec.name)
        if has is None:
            differing.append(Difference(spec, f"{spec.name}: missing", "make"))
            continue
        if has.partitions < spec.partitions:
            text = f"{spec.name}: {_partitions(has.partitions)}, should be {spec.partitions}"
            differing.append(Difference(spec, text, "partitions"))
        elif has.partitions > spec.partitions:
            text = f"{spec.name}: {_partitions(has.partitions)}, should be {spec.partitions}; none is ever taken away"
            differing.append(Difference(spec, text, None))
        if has.replication != spec.replication:
            text = f"{spec.name}: replication factor {has.replication}, should be {spec.replication}"
            differing.append(Difference(spec, f"{text}; reassigning replicas is left to the cluster's own tools", None))
        for key, value in sorted(spec.configs.items()):
            differing += _config_differences(spec, has, key, value)
    return differing


def diff_topics(settings: Settings, regions: int) -> list[Difference]:
    """What `differences` finds on the cluster of the settings; raises as `admin_client` and `topic_specs`."""
    specs = topic_specs(settings, regions)
    with admin_client(settings) as client:
        return differences(specs, find_topics(client, settings, [spec.name for spec in specs]))


def apply_topics(settings: Settings, regions: int, tell: Callable[[str], None]) -> list[Difference]:
    """Make the cluster's topics what the data says; returns what differs still, because it is not for us to change.

    `tell` gets one line for each change that the cluster has taken.

    Raises
    ------
    ClusterError
        As `admin_client`, or a change that the cluster refused; those told of before are made.
    SettingsError
        As `topic_specs`.
    """
    specs = topic_specs(settings, regions)
    names = [spec.name for spec in specs]
    with admin_client(settings) as client:

        def differing() -> list[Difference]:
            return differences(specs, find_topics(client, settings, names))

        _make(client, settings, differing(), tell)
        # Read anew: another `apply` may have made a topic at the same time.
        found = differing()
        _add_partitions(client, settings, found, tell)
        _set_configs(client, settings, found, tell)
        # A broker that has taken a change shows it a moment later; who runs after us shall see it.
        until_s = time.monotonic() + _SEEN_S
        while any(difference.mend is not None for difference in found):
            if time.monotonic() > until_s:
                raise ClusterError(f"cluster {settings.bootstrap}: took the changes, but still says: {found[0].text}")
            time.sleep(_POLL_S)
            found = differing()
    return found


def check_topics(settings: Settings, regions: int) -> list[str]:
    """Why a worker cannot run on the cluster's topics, one line each; raises as `diff_topics`.

    Feeds of formats that the settings leave out are not looked at.
    """
    specs = [spec for spec in topic_specs(settings, regions) if _is_used(spec, settings)]
    with admin_client(settings) as client:
        found = find_topics(client, settings, [spec.name for spec in specs])
    return unusable(specs, found)


def unusable(specs: Iterable[TopicSpec], found: Mapping[str, Found]) -> list[str]:
    """Why topics as found are not fit for a worker: other differences from the data are the operator's choice."""
    problems: list[str] = []
    partitions: dict[str, int] = {}
    for spec in specs:
        has = found.get(spec.name)
        if has is None:
            problems.append(f"topic {spec.name}: missing; {_APPLY} makes it")
            continue
        partitions[spec.topic.name] = has.partitions
        if has.partitions < spec.partitions:
            problems.append(
                f"topic {spec.name}: {_partitions(has.partitions)}, needs {spec.partitions}; {_APPLY} adds them"
            )
        policy = has.configs.get(CLEANUP_POLICY) or ""
        if spec.topic.compacted and _words(policy) != {"compact"}:
            problems.append(f"topic {spec.name}: {CLEANUP_POLICY} = {policy}, must be compact: its state would be lost")
        elif not spec.topic.compacted and "compact" in _words(policy):
            problems.append(
                f"topic {spec.name}: {CLEANUP_POLICY} = {policy}, must not be compacted: records would be lost"
            )
    by_region = {name: partitions[name] for name in (LOOKS, TRACKS, FUSE_CHANGELOG) if name in partitions}
    if len(set(by_region.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in by_region.items())
        problems.append(f"topics of regions must have the same number of partitions: {counts}")
    kept = partitions.get(DECODE_CHANGELOG)
    for name, count in partitions.items():
        if kept is not None and name.startswith(FEEDS) and count > kept:
            problems.append(f"topic {name}: {_partitions(count)}, but {DECODE_CHANGELOG} has {kept}")
    return problems


def topic_table(settings: Settings, regions: int, on_cluster: bool) -> list[str]:
    """The topics in lines of a table, with what the cluster has of each where `on_cluster`; raises as `diff_topics`."""
    specs = topic_specs(settings, regions)
    found: dict[str, Found] | None = None
    if on_cluster:
        with admin_client(settings) as client:
            found = find_topics(client, settings, [spec.name for spec in specs])
    rows = [("TOPIC", "PARTITIONS", "KEPT", "VALUE", *(() if found is None else ("CLUSTER",)))]
    for spec in specs:
        value = (spec.topic.schema or "bytes").removesuffix(".schema.json")
        row: tuple[str, ...] = (spec.name, str(spec.partitions), _kept(spec), value)
        if found is not None:
            has = found.get(spec.name)
            different = len(differences([spec], found))
            state = "missing" if has is None else f"{different} different" if different else "as it should be"
            row = (*row, state)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _kept(spec: TopicSpec) -> str:
    """How long records are kept, in words."""
    if spec.topic.compacted:
        return "last of each key"
    retention_ms = int(spec.configs.get("retention.ms", -1))
    if retention_ms >= 0:
        return f"{retention_ms / 86_400_000:g} days"
    retention_bytes = int(spec.configs.get("retention.bytes", -1))
    return f"{retention_bytes / 2**30:g} GiB a partition" if retention_bytes >= 0 else "all"


def _is_used(spec: TopicSpec, settings: Settings) -> bool:
    name = spec.topic.name
    return not name.startswith(FEEDS) or settings.formats is None or name.removeprefix(FEEDS) in settings.formats


def _make(
    client: KafkaAdminClient, settings: Settings, differing: Iterable[Difference], tell: Callable[[str], None]
) -> None:
    missing = {difference.spec.name: difference.spec for difference in differing if difference.mend == "make"}
    if not missing:
        return
    wanted = {
        name: {"num_partitions": spec.partitions, "replication_factor": spec.replication, "configs": spec.configs}
        for name, spec in missing.items()
    }
    refused = []
    made = []
    for answer in client.create_topics(wanted, raise_errors=False)["topics"]:
        name = answer["name"]
        error = for_code(answer["error_code"])
        if error is NoError:
            made.append(name)
            spec = missing[name]
            tell(f"{name}: made, {_partitions(spec.partitions)}, {spec.configs[CLEANUP_POLICY]}")
        elif error is not TopicAlreadyExistsError:
            refused.append(cluster_error(settings, error(f"{name}: {answer.get('error_message') or ''}".rstrip(": "))))
    if refused:
        raise refused[0]
    client.wait_for_topics(made)


def _add_partitions(
    client: KafkaAdminClient, settings: Settings, differing: Iterable[Difference], tell: Callable[[str], None]
) -> None:
    few = {difference.spec.name: difference.spec for difference in differing if difference.mend == "partitions"}
    if not few:
        return
    answers = client.create_partitions({name: spec.partitions for name, spec in few.items()}, raise_errors=False)
    for answer in answers.results:
        error = for_code(answer.error_code)
        if error is not NoError:
            raise cluster_error(settings, error(f"{answer.name}: {answer.error_message or ''}".rstrip(": ")))
        spec = few[answer.name]
        text = f"{answer.name}: now {_partitions(spec.partitions)}"
        # Kafka finds the partition by the key and their number.
        moved = "; an input's later records may come to another one than its earlier"
        tell(text + (moved if spec.topic.partitions == "feeds" else ""))


def _set_configs(
    client: KafkaAdminClient, settings: Settings, differing: Iterable[Difference], tell: Callable[[str], None]
) -> None:
    changes: dict[str, dict[str, str]] = {}
    for difference in differing:
        if difference.mend in difference.spec.configs:
            changes.setdefault(difference.spec.name, {})[difference.mend] = difference.spec.configs[difference.mend]
    if not changes:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict(configs)) for name, configs in changes.items()]
    answers = client.alter_configs(resources, raise_on_unknown=False).get("topic", {})
    for name, configs in changes.items():
        if answers.get(name) != "OK":
            raise ClusterError(f"cluster {settings.bootstrap}: {name}: {answers.get(name, 'no answer')}")
        for key, value in configs.items():
            tell(f"{name}: {key} set to {value}")


def _config_differences(spec: TopicSpec, has: Found, key: str, value: str) -> list[Difference]:
    """None or one; what would refuse producers or delete records is never ours to set."""
    if key not in has.configs:
        return [Difference(spec, f"{spec.name}: {key} should be {value}, but this broker does not know it", None)]
    current = has.configs[key]
    if _same(current, value):
        return []
    if key == MIN_INSYNC_REPLICAS and int(value) > has.replication:
        # With fewer replicas than that, nothing could be written; that they are few is said already.
        return []
    text = f"{spec.name}: {key} = {current}, should be {value}"
    if key in _RETENTION and current is not None and (int(current) < 0 or 0 <= int(value) < int(current)):
        return [Difference(spec, f"{text}; what is kept is never shortened", None)]
    return [Difference(spec, text, key)]


def _partitions(count: int) -> str:
    return f"{count} partition{'' if count == 1 else 's'}"


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def _same(has: str | None, wanted: str) -> bool:
    """Whether two values of a configuration are one: as numbers, or as lists in any order."""
    if has is None:
        return False
    try:
        return float(has) == float(wanted)
    except ValueError:
        return _words(has) == _words(wanted)

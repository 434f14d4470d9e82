"""The AsyncAPI document of the topics: ``python -m apss_fusion.streaming.asyncapi [--check]``.

Made from the data and the JSON Schemas, it stands in `topics/asyncapi.json` of a checkout, for those who read or write
our topics: channels, keys, headers, values, examples, and how each topic is configured with the default settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apss_fusion.model.schemas import FILES, schema
from apss_fusion.streaming.headers import Kind, event_source
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_data import (
    CLEANUP_POLICY,
    FEEDS,
    KINDS,
    Example,
    Topic,
    TopicSpec,
    example_headers,
    topic_specs,
)

_Json = dict[str, Any]

#: In a checkout, seen from its root.
_FILE = Path("topics", "asyncapi.json")
_BINDING = "0.5.0"
#: What the binding names of a topic's configuration; the rest stands in an extension.
_CONFIGURATION = (CLEANUP_POLICY, "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")
_DATE_TIME: _Json = {"type": "string", "format": "date-time"}

_DESCRIPTION = """\
Feeds as received become looks, looks become tracks. Every topic's name may have a deployment's prefix in front of it.

Looks, tracks and dead letters are CloudEvents 1.0 in binary mode: the attributes are headers of the record. With one
ce_source, the same ce_id is the same event. They are written in transactions: read them with isolation level
read_committed, and each comes exactly once. Readers must take no offence at fields that they do not know.
"""


def document() -> _Json:
    """The document, as JSON."""
    specs = topic_specs(Settings(), regions=1)
    messages: _Json = {}
    channels: _Json = {}
    for spec in specs:
        made = _messages(spec.topic)
        messages |= made
        channels[spec.topic.name] = _channel(spec, list(made))
    return {
        "asyncapi": "3.1.0",
        "id": "urn:apss-fusion",
        "info": {
            "title": "apss-fusion",
            "version": version("apss-fusion"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": channels,
        "operations": _operations(specs),
        "components": {
            "messages": messages,
            "schemas": _schemas(),
            "securitySchemes": {
                "plain": {"type": "plain", "description": "SASL PLAIN."},
                "scramSha256": {"type": "scramSha256", "description": "SASL SCRAM-SHA-256."},
                "scramSha512": {"type": "scramSha512", "description": "SASL SCRAM-SHA-512."},
                "certificate": {"type": "X509", "description": "A client's certificate."},
            },
        },
    }


def text() -> str:
    """The document as it is written: two spaces, a line end."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the AsyncAPI document of a checkout, or with ``--check`` say whether it is what the data says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m apss_fusion.streaming.asyncapi", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where the file differs")
    parser.add_argument("--file", type=Path, default=_FILE, help="where it stands (default: %(default)s)")
    options = parser.parse_args(arguments)
    made = text()
    if options.file.is_file() and options.file.read_text(encoding="utf-8") == made:
        return 0
    if options.check:
        print(f"{options.file}: differs from the data; `make asyncapi` writes it anew", file=sys.stderr)
        return 1
    options.file.write_text(made, encoding="utf-8")
    print(options.file)
    return 0


def _servers() -> _Json:
    secure = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("plain", "scramSha256", "scramSha512")]
    binding = {"kafka": {"bindingVersion": _BINDING}}
    return {
        "local": {
            "host": "localhost:9092",
            "protocol": "kafka",
            "description": "The broker that is started for trying things out.",
            "bindings": binding,
        },
        "deployment": {
            "host": "{bootstrap}",
            "protocol": "kafka-secure",
            "description": "A deployment's cluster, with TLS.",
            "variables": {"bootstrap": {"default": "kafka.example:9093", "description": "HOST:PORT of a broker."}},
            "security": [*secure, {"$ref": "#/components/securitySchemes/certificate"}],
            "bindings": binding,
        },
    }


def _channel(spec: TopicSpec, messages: list[str]) -> _Json:
    topic = spec.topic
    configuration: _Json = {key: value for key, value in topic.configs.items() if key in _CONFIGURATION}
    configuration[CLEANUP_POLICY] = str(topic.configs[CLEANUP_POLICY]).split(",")
    made: _Json = {
        "address": topic.name,
        "title": topic.name,
        "description": topic.purpose,
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": spec.partitions,
                "replicas": spec.replication,
                "topicConfiguration": configuration,
                "bindingVersion": _BINDING,
            }
        },
        # As text: some of these numbers are more than a number of JavaScript can hold.
        "x-configuration": {key: value for key, value in spec.configs.items() if key not in _CONFIGURATION},
        "x-partitions": "as many as topics.feed_partitions" if topic.partitions == "feeds" else "one a region",
    }
    if topic.internal:
        made["tags"] = [{"name": "internal", "description": "Only workers read and write it."}]
    return made


def _messages(topic: Topic) -> _Json:
    """The messages of a channel by their names: its values, and tombstones."""
    key = {"type": "string", "description": topic.key}
    bindings = {"kafka": {"key": key, "bindingVersion": _BINDING}}
    message: _Json = {"name": topic.name, "title": topic.name, "summary": topic.value}
    if topic.schema is None:
        message |= {"contentType": "application/octet-stream", "payload": {"type": "string", "format": "binary"}}
    else:
        name = FILES[topic.schema].__name__
        message |= {"contentType": "application/json", "payload": {"$ref": f"#/components/schemas/{name}"}}
    if topic.event is not None:
        message["headers"] = _headers(KINDS[topic.event], topic.headers)
    message["bindings"] = bindings
    examples = [_example(topic, example) for example in topic.examples if example.value is not None]
    if examples:
        message["examples"] = examples
    made = {topic.name: message}
    if topic.tombstones:
        made[f"{topic.name}.tombstone"] = {
            "name": f"{topic.name}.tombstone",
            "title": "Tombstone",
            "summary": "No value and no headers: what had this key is gone.",
            "payload": {"type": "null"},
            "bindings": bindings,
        }
    return made


def _headers(kind: Kind, others: Sequence[str]) -> _Json:
    """The schema of the headers of an event; their values are UTF-8."""
    properties: _Json = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_type": {"type": "string", "const": kind.type},
        "ce_source": {"type": "string", "description": f"{event_source('GROUP')}: the group of workers that says it."},
        "ce_dataschema": {"type": "string", "const": kind.dataschema},
        "content-type": {"type": "string", "const": "application/json"},
        "ce_id": {"type": "string"},
        "ce_subject": {"type": "string"},
        "ce_time": _DATE_TIME,
    }
    required = sorted(properties)
    for name in others:
        properties[name] = {"type": "string", "description": "TOPIC/PARTITION/OFFSET/INDEX"}
    return {"type": "object", "properties": properties, "required": required}


def _example(topic: Topic, example: Example) -> _Json:
    value = example.value or ""
    made: _Json = {"payload": value if topic.schema is None else json.loads(value)}
    headers = example_headers(topic, example, event_source(Settings().worker.group))
    if headers:
        made["headers"] = {name: value.decode() for name, value in headers}
    return made


def _operations(specs: Sequence[TopicSpec]) -> _Json:
    """What the workers do, each with the messages of its channel."""
    group = {"type": "string", "enum": [Settings().worker.group]}
    made: _Json = {}
    for spec in specs:
        name = spec.topic.name
        # Decoders read feeds, engines read looks; what comes of it is read by others, or by workers that start.
        actions = {"receive"} if name.startswith(FEEDS) else {"send"} if spec.topic.event else {"send", "receive"}
        if name == "looks":
            actions = {"send", "receive"}
        for action in sorted(actions):
            operation: _Json = {
                "action": action,
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"Workers {'read' if action == 'receive' else 'write'} {name}.",
            }
            if action == "receive" and not spec.topic.internal:
                operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
            made[f"{action}.{name}"] = operation
    return made


def _schemas() -> _Json:
    """The schemas of all topics' values in one place, as AsyncAPI takes them (JSON Schema draft 7)."""
    found: _Json = {}
    files = {spec.topic.schema for spec in topic_specs(Settings(), regions=1)}
    for struct in (struct for file, struct in FILES.items() if file in files):
        whole = schema(struct)
        for name, part in {**whole.pop("$defs", {}), struct.__name__: whole}.items():
            made = _draft_7({key: value for key, value in part.items() if key not in ("$schema", "$id")})
            if found.setdefault(name, made) != made:
                raise ValueError(f"two schemas have the name {name}")
    return dict(sorted(found.items()))


def _draft_7(part: Any) -> Any:
    """A schema of draft 2020-12, as msgspec writes it, in the words of draft 7."""
    if isinstance(part, list):
        return [_draft_7(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {key: _draft_7(value) for key, value in part.items()}
    if "prefixItems" in made:
        rest = made.pop("items", True)
        made["items"] = made.pop("prefixItems")
        made["additionalItems"] = rest
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/$defs/", "#/components/schemas/")
    return made


if __name__ == "__main__":
    sys.exit(main())

"""Settings of a deployment: one TOML file, overridden by the environment; an unknown key is an error.

The environment's name of a key is ``APSS_`` and its path in capitals: ``APSS_BOOTSTRAP``, ``APSS_KAFKA_SASL_MECHANISM``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_ENVIRONMENT = "APSS_"
#: What follows it in variables that are no settings: of recorded feeds, of tests, of the processes among each other.
_OF_OTHERS = ("fusion_", "test_", "broker_", "fail_", "process_")
_Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]
#: What session timeouts a broker allows by default.
_Session = Annotated[float, Meta(ge=6.0, le=1800.0)]
_Count = Annotated[int, Meta(ge=1)]


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the file or variable, and the key."""


class Kafka(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach the cluster, by the names of kafka-python."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = None
    ssl_check_hostname: bool = True
    #: How long a worker may be silent before its partitions go to others.
    session_timeout_s: _Session = 6.0
    #: How long a client waits for an answer.
    request_timeout_s: _Seconds = 30.0


class Topics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `topics apply` makes of the data in ``topics/``."""

    #: Stands before every topic's name.
    prefix: str = ""
    replication_factor: _Count = 1
    #: Partitions of each topic of feeds: how many workers can decode one format.
    feed_partitions: _Count = 4


class Worker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a worker runs."""

    #: Group of the workers that share the partitions; also the first part of each transactional id.
    group: Annotated[str, Meta(min_length=1, max_length=200)] = "apss-fusion"
    #: Port of /metrics, /healthz and /readyz; 0: none. Where it is taken and was not asked for, a free one.
    http_port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    http_host: str = "127.0.0.1"
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: Most records that are fused and delivered in one transaction.
    most_records: _Count = 8000
    #: Records of a feed after which a decoder's state is kept anew.
    snapshot_records: _Count = 5000
    #: A worker without partitions, or without progress while records wait, ends after this long.
    stuck_s: _Seconds = 60.0
    #: How long an orderly stop may take.
    stop_s: _Seconds = 10.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings; `engine` is the configuration of the engine (``apss-fusion fuse --config``)."""

    bootstrap: str = "localhost:9092"
    #: File of the register of sources, and of the regions; none: the built-in sources, one region.
    sources: str | None = None
    regions: str | None = None
    #: Formats whose feeds are read here; all that there are where None. Their built-in sources, and the register, say how
    #: late looks may come, and so how much the engines have to remember.
    formats: tuple[str, ...] | None = None
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    worker: Worker = Worker()
    engine: dict[str, Any] = {}

    def topic(self, name: str) -> str:
        """The full name of a topic of ``topics/``."""
        return self.topics.prefix + name

    @property
    def servers(self) -> list[str]:
        """HOST:PORT of the brokers to ask first."""
        return [server.strip() for server in self.bootstrap.split(",") if server.strip()]


def read_settings(
    path: str | None, environment: Mapping[str, str] = os.environ, bootstrap: str | None = None
) -> Settings:
    """The settings of a file (None: the defaults), then of the environment, then of the command line.

    Files that the settings name are taken from the folder of the settings' own file.

    Raises
    ------
    SettingsError
        A file that cannot be read or is no TOML, an unknown key, a value out of its range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {error}") from None
    _converted(values, path or "settings")
    for name in ("sources", "regions"):
        if path is not None and values.get(name):
            values[name] = str(Path(path).parent / values[name])
    for variable, text in sorted(environment.items()):
        if variable.startswith(_ENVIRONMENT):
            _override(values, variable, text)
    if bootstrap is not None:
        values["bootstrap"] = bootstrap
    settings = _converted(values, "settings")
    if not settings.servers or any(not _is_address(server) for server in settings.servers):
        raise SettingsError(f"bootstrap {settings.bootstrap!r}: not HOST:PORT, or several with commas between them")
    return settings


def _converted(values: dict[str, Any], where: str) -> Settings:
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}") from None


def _override(values: dict[str, Any], variable: str, text: str) -> None:
    """Set the key that a variable of the environment names; `SettingsError` where there is none."""
    words = variable.removeprefix(_ENVIRONMENT).lower()
    if words.startswith("engine_"):
        raise SettingsError(f"{variable}: what configures the engine is read from the file only")
    for f in msgspec.structs.fields(Settings):
        if f.name == words and f.name != "engine" and not isinstance(f.default, Struct):
            values[f.name] = [word.strip() for word in text.split(",")] if f.name == "formats" else text
            return
        if words.startswith(f.name + "_") and isinstance(f.default, Struct):
            _set(values.setdefault(f.name, {}), type(f.default), words.removeprefix(f.name + "_"), variable, text)
            return
    if not words.startswith(_OF_OTHERS):
        raise SettingsError(f"{variable}: there is no such setting")


def _set(table: dict[str, Any], kind: type[Struct], key: str, variable: str, text: str) -> None:
    for f in msgspec.structs.fields(kind):
        if f.name == key:
            try:
                table[key] = msgspec.convert(text, f.type, strict=False)
            except msgspec.ValidationError as error:
                raise SettingsError(f"{variable}: {error}") from None
            return
    raise SettingsError(f"{variable}: there is no such setting")


def _is_address(server: str) -> bool:
    host, colon, port = server.rpartition(":")
    return bool(host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536)

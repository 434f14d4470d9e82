"""Settings: a file, the environment over it, the command line over both; whatever is wrong is one line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Source
from apss_fusion.streaming.deployment import formats_of, read_deployment
from apss_fusion.streaming.settings import Kafka, Settings, SettingsError, Topics, Worker, read_settings
from apss_fusion.streaming.supervisor import SETTINGS


def write(tmp_path: Path, text: str, name: str = "deployment.toml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_a_file_the_defaults_hold() -> None:
    settings = read_settings(None, {})
    assert settings == Settings()
    assert settings.servers == ["localhost:9092"]
    assert settings.topic("looks") == "looks"


def test_a_file_the_environment_and_the_command_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        bootstrap = "a:1"
        formats = ["ais-nmea", "looks"]
        [kafka]
        sasl_plain_username = "ann"
        [topics]
        prefix = "x."
        feed_partitions = 7
        [worker]
        http_port = 0
        [engine]
        filter = "fast"
        """,
    )
    settings = read_settings(path, {})
    assert (settings.bootstrap, settings.formats) == ("a:1", ("ais-nmea", "looks"))
    assert settings.kafka == Kafka(sasl_plain_username="ann")
    assert settings.topics == Topics(prefix="x.", feed_partitions=7)
    assert settings.worker == Worker(http_port=0)
    assert settings.engine == {"filter": "fast"}
    assert settings.topic("looks") == "x.looks"
    environment = {
        "APSS_BOOTSTRAP": "b:2, c:3",
        "APSS_FORMATS": "looks, ksat",
        "APSS_KAFKA_SASL_PLAIN_PASSWORD": "123",
        "APSS_KAFKA_SSL_CHECK_HOSTNAME": "false",
        "APSS_TOPICS_PREFIX": "y.",
        "APSS_WORKER_HTTP_PORT": "81",
        "APSS_WORKER_STUCK_S": "7.5",
        "APSS_SOURCES": "sources.toml",
        # Of others.
        "APSS_TEST_KAFKA": "required",
        "APSS_FUSION_SERVICE_HOST": "10.0.0.1",
        "KAFKA_BOOTSTRAP": "d:4",
    }
    settings = read_settings(path, environment)
    assert settings.servers == ["b:2", "c:3"]
    assert settings.formats == ("looks", "ksat")
    assert settings.kafka == Kafka(sasl_plain_username="ann", sasl_plain_password="123", ssl_check_hostname=False)  # noqa: S106
    assert settings.topics == Topics(prefix="y.", feed_partitions=7)
    assert settings.worker == Worker(http_port=81, stuck_s=7.5)
    # What the environment names lies where the command runs.
    assert settings.sources == "sources.toml"
    assert read_settings(path, environment, "e:5").bootstrap == "e:5"


def test_files_are_taken_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    path = write(tmp_path, 'sources = "sources.toml"\nregions = "/etc/regions.toml"\n')
    settings = read_settings(path, {})
    assert settings.sources == str(tmp_path / "sources.toml")
    assert settings.regions == "/etc/regions.toml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bootstrapp = 'a:1'", "unknown field `bootstrapp`"),
        ("[worker]\nhttpport = 1", "unknown field `httpport` - at `$.worker`"),
        ("[kafka]\nssl_cafile = 3", "$.kafka.ssl_cafile"),
        ("kafka = 3", "$.kafka"),
        ("[kafka]\nsecurity_protocol = 'TLS'", "'TLS' - at `$.kafka.security_protocol`"),
        ("[kafka]\nsession_timeout_s = 5", ">= 6.0 - at `$.kafka.session_timeout_s`"),
        ("[kafka]\nsession_timeout_s = nan", "$.kafka.session_timeout_s"),
        ("[kafka]\nsession_timeout_s = inf", "$.kafka.session_timeout_s"),
        ("[kafka]\nrequest_timeout_s = inf", "$.kafka.request_timeout_s"),
        ("[worker]\nhttp_port = 65536", "$.worker.http_port"),
        ("[worker]\nmost_records = 0", "$.worker.most_records"),
        ("[worker]\nstop_s = 0", "$.worker.stop_s"),
        ("[worker]\nlog_format = 'xml'", "$.worker.log_format"),
        ("[topics]\nreplication_factor = 1.5", "$.topics.replication_factor"),
        ("formats = 'looks'", "$.formats"),
        ("bootstrap = ", "Invalid value (at"),
        ("bootstrap = 'a'", "bootstrap 'a': not HOST:PORT"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        read_settings(path, {})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith((path, "bootstrap"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        read_settings(str(tmp_path / "none.toml"), {})
    with pytest.raises(SettingsError, match="Is a directory"):
        read_settings(str(tmp_path), {})
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(SettingsError, match=r"latin\.toml: 'utf-8'"):
        read_settings(str(tmp_path / "latin.toml"), {})


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("APSS_WORKER_HTTPPORT", "1", "there is no such setting"),
        ("APSS_WORKER_HTTP_PORT", "x", "Expected `int"),
        ("APSS_WORKER_HTTP_PORT", "-1", ">= 0"),
        ("APSS_WORKER_STUCK_S", "nan", "> 0.0"),
        ("APSS_KAFKA_SSL_CHECK_HOSTNAME", "perhaps", "Expected `bool`"),
        ("APSS_KAFKA_SECURITY_PROTOCOL", "ssl", "Invalid enum value"),
        ("APSS_TOPICS_FEED_PARTITIONS", "0", ">= 1"),
        ("APSS_ENGINE_FILTER", "fast", "is read from the file only"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variable: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(None, {variable: text})
    assert str(error.value).startswith(f"{variable}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("good", ["a:1", "a:1,b:2", " a:1 , b:2 ", "[::1]:9092", "127.0.0.1:65535"])
def test_addresses(good: str) -> None:
    assert read_settings(None, {}, good).servers == [server.strip() for server in good.split(",")]


@pytest.mark.parametrize("bad", ["", ",", "a", ":1", "a:", "a:0", "a:65536", "a:1,b", "a:x", "a:-1", "a:²"])
def test_what_is_no_address_is_named(bad: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(None, {}, bad)
    assert str(error.value).startswith(f"bootstrap {bad!r}: not HOST:PORT")


def _fields(kind: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return [f for f in msgspec.structs.fields(kind) if not isinstance(f.default, msgspec.Struct)]


@pytest.mark.parametrize(("table", "kind"), [("kafka", Kafka), ("topics", Topics), ("worker", Worker)])
def test_every_key_of_a_table_can_be_set_by_the_environment(table: str, kind: type[msgspec.Struct]) -> None:
    # Values that no default is.
    values: dict[str, Any] = {
        "security_protocol": "SSL", "sasl_mechanism": "PLAIN", "ssl_check_hostname": "false", "session_timeout_s": "9",
        "log_format": "json", "log_level": "ERROR", "stuck_s": "7", "stop_s": "7", "request_timeout_s": "7",
    }  # fmt: skip
    for f in _fields(kind):
        text = values.get(f.name, "17")
        settings = read_settings(None, {f"APSS_{table}_{f.name}".upper(): text})
        changed = getattr(getattr(settings, table), f.name)
        assert str(changed).lower().removesuffix(".0") == text.lower()
        assert changed != f.default


@given(st.builds(Settings, worker=st.builds(Worker), kafka=st.builds(Kafka)))
def test_a_process_gets_the_settings_as_they_were_read(settings: Settings) -> None:
    assert SETTINGS == "APSS_PROCESS_SETTINGS"
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


# ---------------------------------------------------------------------------------------- what settings name


def test_a_deployment_has_the_sources_of_its_formats_and_of_the_register(tmp_path: Path) -> None:
    write(tmp_path, '[sources."radar-1"]\nmodality = "RADAR"\nmax_latency_s = 5.0\n', "sources.toml")
    path = write(tmp_path, 'formats = ["ais-nmea", "looks"]\nsources = "sources.toml"\n[engine]\nfilter = "fast"\n')
    deployed = read_deployment(read_settings(path, {}))
    assert set(deployed.sources) == {"ais-nmea", "radar-1"}
    assert deployed.sources["radar-1"] == Source(modality="RADAR", max_latency_s=5.0)
    assert deployed.config.filter == "fast"
    assert deployed.regions.names == ("globe",)
    every = read_deployment(Settings())
    assert set(every.sources) == {decoder.name for decoder in decoders()} - {"looks"}
    # How late the rows of an archive come in their file says nothing of a live feed.
    assert {decoder.name for decoder in decoders() if decoder.archive} <= {
        name for name, source in every.sources.items() if source.max_latency_s is None
    }
    assert formats_of(Settings(formats=("looks", "ais-csv", "looks"))) == ["ais-csv", "looks"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formats = ['ais']", "formats: there is no 'ais'; there are ais-csv, "),
        ("[engine]\nfilterr = 'fast'", "engine: "),
        ("[engine]\nfilter = 'quick'", "engine: "),
        ("[engine]\nhold_back = true", "engine: hold_back: of no use in a worker"),
        ("[engine]\npicture_interval_s = 60.0", "engine: picture_interval_s: of no use in a worker"),
        ("sources = 'none.toml'", "none.toml: No such file or directory"),
        ("sources = 'bad.toml'", "bad.toml"),
        ("regions = 'none.toml'", "none.toml: No such file or directory"),
        ("regions = 'bad.toml'", "bad.toml"),
    ],
)
def test_what_settings_name_and_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "[sources.a]\nmodality = 'SONAR'\n[regions.a]\npartition = 'x'\n", "bad.toml")
    with pytest.raises(SettingsError) as error:
        read_deployment(read_settings(write(tmp_path, text), {}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["APSS_KAFKA", "APSS_BOOTSTRP", "APSS_WORKER_HTTPPORT", "APSS_"])
def test_a_variable_that_names_no_setting_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: there is no such setting$"):
        read_settings(None, {name: "x"})

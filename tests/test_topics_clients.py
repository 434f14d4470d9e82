"""What the client libraries are told, what is said when a cluster cannot be used, and the headers of records."""

from __future__ import annotations

import inspect
import logging
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import SaslAuthenticationFailedError, TopicAuthorizationFailedError, UnknownError

from apss_fusion.streaming import clients
from apss_fusion.streaming.clients import (
    ClusterError,
    admin_options,
    aiokafka_options,
    check_cluster,
    client_options,
    cluster_error,
    faust_credentials,
)
from apss_fusion.streaming.headers import (
    DEAD_LETTER,
    LOOK,
    TRACK,
    Origin,
    constant_headers,
    event_headers,
    event_source,
    origin_header,
    other_kind,
    read_origin,
)
from apss_fusion.streaming.settings import Kafka, Settings, SettingsError

PASSWORD = "sesame"  # noqa: S105
PLAIN: dict[str, Any] = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "ann", "sasl_plain_password": "secret"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of a certificate and its key, which has the password `PASSWORD`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    made = (str(folder / "certificate.pem"), str(folder / "key.pem"))
    command = (
        f"req -x509 -newkey rsa:2048 -days 9 -subj /CN=test -passout pass:{PASSWORD} -out {made[0]} -keyout {made[1]}"
    )
    subprocess.run([openssl, *command.split()], check=True, capture_output=True)  # noqa: S603
    return made


def secured(**kafka: Any) -> Settings:
    return Settings(bootstrap="a:1, b:2", kafka=Kafka(**kafka))


def known(kind: type) -> set[str]:
    """The keyword arguments that a class of aiokafka takes."""
    return set(inspect.signature(kind).parameters)


def test_every_client_takes_its_options() -> None:
    settings = secured(security_protocol="SASL_SSL", **PLAIN)
    assert set(admin_options(settings)) <= set(KafkaAdminClient.DEFAULT_CONFIG)
    for kind in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
        assert set(client_options(settings)) <= set(kind.DEFAULT_CONFIG)
    for kind in (AIOKafkaConsumer, AIOKafkaProducer):
        assert set(aiokafka_options(settings)) <= known(kind)


@pytest.mark.parametrize("options", [client_options, admin_options, aiokafka_options])
def test_options_say_what_the_settings_say(options: Any) -> None:
    plain = options(secured(request_timeout_s=1.5))
    assert plain["bootstrap_servers"] == ["a:1", "b:2"]
    assert plain["security_protocol"] == "PLAINTEXT"
    assert plain["ssl_context"] is None
    assert plain["request_timeout_ms"] == 1500
    assert not any(key.startswith("sasl") for key in plain)

    scram = {**PLAIN, "sasl_mechanism": "SCRAM-SHA-512"}
    secure = options(secured(security_protocol="SASL_SSL", ssl_check_hostname=False, **scram))
    assert secure["security_protocol"] == "SASL_SSL"
    assert {key: secure[key] for key in scram} == scram
    context = secure["ssl_context"]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert options(secured(security_protocol="SSL"))["ssl_context"].check_hostname


def test_faust_gets_the_same_security() -> None:
    assert faust_credentials(secured()) is None
    found: Any = faust_credentials(secured(security_protocol="SSL"))
    assert found.protocol.value == "SSL"
    assert found.context.check_hostname
    found = faust_credentials(
        secured(security_protocol="SASL_PLAINTEXT", **{**PLAIN, "sasl_mechanism": "SCRAM-SHA-256"})
    )
    assert (found.protocol.value, found.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")
    assert (found.username, found.password, found.ssl_context) == ("ann", "secret", None)
    found = faust_credentials(secured(security_protocol="SASL_SSL", **PLAIN))
    assert (found.protocol.value, found.ssl_context.verify_mode) == ("SASL_SSL", ssl.CERT_REQUIRED)


def test_certificates_are_loaded(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    settings = secured(
        security_protocol="SSL", ssl_cafile=cert, ssl_certfile=cert, ssl_keyfile=key, ssl_password=PASSWORD
    )
    (authority,) = client_options(settings)["ssl_context"].get_ca_certs()
    assert authority["subject"] == ((("commonName", "test"),),)


@pytest.mark.parametrize(
    ("kafka", "key"),
    [
        ({"security_protocol": "SASL_PLAINTEXT"}, "sasl_mechanism"),
        ({"security_protocol": "SASL_SSL", **PLAIN, "sasl_plain_password": None}, "sasl_plain_password"),
        ({"sasl_plain_password": "secret"}, "sasl_plain_password"),
        ({"security_protocol": "SSL", **PLAIN}, "sasl_mechanism"),
        ({"security_protocol": "SASL_PLAINTEXT", **PLAIN, "ssl_cafile": "ca.pem"}, "ssl_cafile"),
        ({"security_protocol": "SSL", "ssl_keyfile": "key.pem"}, "ssl_certfile"),
        ({"security_protocol": "SSL", "ssl_cafile": "/nowhere/ca.pem"}, "ssl_cafile"),
        ({"security_protocol": "SSL", "ssl_cafile": __file__}, "ssl_cafile"),
        ({"security_protocol": "SSL", "ssl_certfile": __file__}, "ssl_certfile"),
    ],
)
def test_security_that_cannot_be_is_one_clear_line(kafka: dict[str, Any], key: str) -> None:
    for options in (client_options, admin_options, aiokafka_options, faust_credentials):
        with pytest.raises(SettingsError, match=rf"^kafka\.{key}: [^\n]+$") as caught:
            options(secured(**kafka))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_the_password_of_a_key_is_never_asked_for(certificate: tuple[str, str], password: str | None) -> None:
    cert, key = certificate
    settings = secured(security_protocol="SSL", ssl_certfile=cert, ssl_keyfile=key, ssl_password=password)
    with pytest.raises(SettingsError, match=r"^kafka\.ssl_certfile: .*key\.pem: "):
        client_options(settings)


# --- errors ---


def test_a_cluster_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clients, "CONNECT_TIMEOUT_S", 0.4)
    with socket.socket() as taken:
        # Bound, but nobody listens.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError) as caught:
            check_cluster(Settings(bootstrap=address))
    assert str(caught.value) == f"cluster {address}: no answer within 0.4 s: Connection refused"
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger("kafka.net").propagate


def test_a_server_that_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CONNECT_TIMEOUT_S", 0.4)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"^cluster {address}: no answer within 0\.4 s"):
            check_cluster(Settings(bootstrap=address))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SaslAuthenticationFailedError("Invalid\ncredentials"), "wrong credentials: Invalid credentials"),
        (TopicAuthorizationFailedError("tracks"), "no authorisation for a topic: tracks"),
        (TopicAuthorizationFailedError(), "no authorisation for a topic"),
        (UnknownError(), "UnknownError"),
        (ConnectionResetError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer"),
    ],
)
def test_an_error_is_one_line_that_says_what_it_means(error: Exception, text: str) -> None:
    assert str(cluster_error(Settings(bootstrap="a:1"), error)) == f"cluster a:1: {text}"


# --- headers ---


def test_headers_of_an_event_are_those_of_cloudevents() -> None:
    constant = constant_headers(TRACK, event_source("my group"))
    headers = event_headers(constant, b"t1:7", b"t1", b"2026-01-01T00:00:00.000000Z")
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"t1:7",
        "ce_source": b"urn:apss-fusion:my%20group",
        "ce_type": b"apss.track.v1",
        "ce_time": b"2026-01-01T00:00:00.000000Z",
        "ce_subject": b"t1",
        "ce_dataschema": b"urn:apss-fusion:TrackUpdate:1",
        "content-type": b"application/json",
    }
    assert len(headers) == len(dict(headers))
    # Each call makes a list of its own.
    headers.append(origin_header("feeds.x", 1, 2, 3))
    assert len(event_headers(constant, b"", b"", b"")) == 8


@given(
    st.text("abc.-_", min_size=1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
)
def test_an_origin_is_read_as_it_was_written(topic: str, partition: int, offset: int, index: int) -> None:
    header = origin_header(topic, partition, offset, index)
    assert read_origin([("ce_id", b"x"), header]) == Origin(topic, partition, offset, index)


def test_no_origin_and_a_bad_one() -> None:
    assert read_origin([]) is None
    for bad in (b"", b"t/1/2", b"t/1/2/3/4", b"t/1/-2/3", b"/1/2/3", b"t/1/x/3", b"t/1/\xff/3", "t/1/٣/3".encode()):
        with pytest.raises(ValueError, match=r"^header origin: "):
            read_origin([("origin", bad)])


@pytest.mark.parametrize("kind", [LOOK, TRACK, DEAD_LETTER])
def test_a_record_of_another_version_is_told(kind: Any) -> None:
    headers = event_headers(constant_headers(kind, "s"), b"", b"", b"")
    assert other_kind(headers, kind) is None
    assert other_kind([], kind) is None
    newer = [(name, value.replace(b":1", b":2")) for name, value in headers]
    said = other_kind(newer, kind)
    assert said is not None
    assert said == f"header ce_dataschema: '{kind.dataschema[:-1]}2' is not '{kind.dataschema}'"
    for other in (LOOK, TRACK, DEAD_LETTER):
        assert (other_kind(headers, other) is None) == (other == kind)
    assert "ce_type" in str(other_kind([("ce_type", b"\xff")], kind))


def test_a_header_may_be_null() -> None:
    nothing: Any = None
    with pytest.raises(ValueError, match=r"^header origin: "):
        read_origin([("origin", nothing)])
    assert "ce_type" in str(other_kind([("ce_type", nothing)], LOOK))
    assert other_kind([("other", nothing)], LOOK) is None


def test_what_a_library_warns_of_is_not_written_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        logging.getLogger("kafka.net.manager").warning("noise")
        logging.getLogger("aiokafka.conn").error("noise")
    finally:
        root.handlers = handlers
    assert capfd.readouterr().err == ""


def test_the_names_of_the_files_are_in_the_message(tmp_path: Path) -> None:
    missing = tmp_path / "no.pem"
    with pytest.raises(SettingsError, match=f"^kafka.ssl_cafile: {missing}: No such file or directory$"):
        client_options(secured(security_protocol="SSL", ssl_cafile=str(missing)))

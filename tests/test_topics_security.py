"""A broker with TLS, SASL and access control: whom it lets in, and what is said where it does not."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka_tools import StartKafka, wait_until

from apss_fusion.cli.app import invoke
from apss_fusion.streaming import clients
from apss_fusion.streaming.clients import ClusterError, admin_client, aiokafka_options, check_cluster
from apss_fusion.streaming.settings import Kafka, Settings
from apss_fusion.streaming.topic_admin import apply_topics, check_topics, diff_topics
from apss_fusion.streaming.topic_data import topics

PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
USERS = {"admin": "admin-secret", "worker": "worker-secret"}
KEY_PASSWORD = "changeit"  # noqa: S105


@dataclass
class Secured:
    """A broker that asks for TLS and credentials."""

    bootstrap: str
    authority: str

    def settings(self, user: str = "admin", **kafka: Any) -> Settings:
        values = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": USERS.get(user, "guessed"),
            "ssl_cafile": self.authority,
            **kafka,
        }
        return Settings(bootstrap=self.bootstrap, kafka=Kafka(**values))


@pytest.fixture
def secured(own_kafka: StartKafka, tmp_path: Path) -> Secured:
    keytool = shutil.which("keytool")
    if keytool is None:
        pytest.skip("needs keytool, of Java")
    store, authority = tmp_path / "store.p12", tmp_path / "authority.pem"
    words = f"-keystore {store} -storepass {KEY_PASSWORD} -alias broker"
    make = f"-genkeypair -storetype PKCS12 -keyalg RSA -dname CN=localhost -ext san=dns:localhost {words}"
    for command in (make, f"-exportcert -rfc -file {authority} {words}"):
        subprocess.run([keytool, *command.split()], check=True, capture_output=True)  # noqa: S603
    users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    login = f'{PLAIN_LOGIN} username="admin" password="{USERS["admin"]}" {users};'
    # The listener of clients is called PLAINTEXT, whatever is spoken on it.
    settings = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": login,
        "listener.name.plaintext.scram-sha-256.sasl.jaas.config": SCRAM_LOGIN,
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(store),
        "ssl.keystore.password": KEY_PASSWORD,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
        "ssl.endpoint.identification.algorithm": "",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",
    }
    cluster = own_kafka(**settings)
    # The certificate is of the name, and the broker tells its clients an address: the tests say where they check which.
    return Secured(cluster.bootstrap, str(authority))


def said(settings: Settings, capfd: pytest.CaptureFixture[str]) -> str:
    """Why the cluster cannot be used, which is one line and nothing beside it."""
    with pytest.raises(ClusterError) as caught:
        check_cluster(settings)
    assert capfd.readouterr() == ("", "")
    text = str(caught.value)
    assert "\n" not in text
    assert "secret" not in text
    return text.removeprefix(f"cluster {settings.bootstrap}: ")


def refused(settings: Settings) -> str:
    """Why the topics may not be looked at; empty where they may."""
    try:
        diff_topics(settings, 2)
    except ClusterError as error:
        return str(error).removeprefix(f"cluster {settings.bootstrap}: ")
    return ""


async def _send(options: dict[str, Any], topic: str) -> int:
    producer = AIOKafkaProducer(**options)
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, b"v")).offset)
    finally:
        await producer.stop()


def test_who_is_let_in_and_what_is_said_to_others(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(clients, "CONNECT_TIMEOUT_S", 2.0)
    admin = secured.settings(ssl_check_hostname=False)

    # Not let in: each is one line that says why.
    assert said(secured.settings("nobody", ssl_check_hostname=False), capfd).startswith("wrong credentials: ")
    other = secured.settings(ssl_check_hostname=False, sasl_mechanism="SCRAM-SHA-256")
    assert said(other, capfd).startswith("wrong credentials: ")
    other = secured.settings(ssl_check_hostname=False, sasl_mechanism="SCRAM-SHA-512")
    assert said(other, capfd) == "the broker takes another SASL mechanism"
    assert "CERTIFICATE_VERIFY_FAILED" in said(secured.settings(ssl_cafile=None), capfd)
    assert "IP address mismatch" in said(secured.settings(), capfd)
    plain = Settings(bootstrap=secured.bootstrap)
    assert said(plain, capfd).startswith("no answer within 2 s")

    # Let in: the administrator, by both libraries.
    assert apply_topics(admin, 2, lambda line: None) == []
    assert check_topics(admin, 2) == []
    assert asyncio.run(_send(aiokafka_options(admin), "looks")) == 0

    # Let in, but not to the topics.
    worker = secured.settings("worker", ssl_check_hostname=False)
    assert re.fullmatch(r"no authorisation for a topic: [a-z]\S+", refused(worker))
    allow(admin, ACLOperation.DESCRIBE)
    pattern = re.compile(r"no authorisation to read the configuration of [a-z]\S+")
    wait_until(lambda: pattern.fullmatch(refused(worker)), 20, "leave to describe topics, and no more")
    allow(admin, ACLOperation.DESCRIBE_CONFIGS)
    wait_until(lambda: refused(worker) == "", 20, "leave to describe configurations")
    assert diff_topics(worker, 2) == []
    # What it may not change it is told by the command, with the status of what has not begun.
    config = tmp_path / "settings.toml"
    kafka = {name: getattr(worker.kafka, name) for name in ("security_protocol", "sasl_mechanism", "ssl_cafile")}
    lines = [f'{name} = "{value}"' for name, value in kafka.items()]
    lines += ["ssl_check_hostname = false", 'sasl_plain_username = "worker"']
    config.write_text("\n".join(["[kafka]", *lines, "[topics]", "feed_partitions = 9"]))
    monkeypatch.setenv("APSS_KAFKA_SASL_PLAIN_PASSWORD", USERS["worker"])
    words = ["--config", str(config), "--bootstrap", secured.bootstrap]
    assert invoke(["topics", "diff", *words]) == 1
    assert len(capfd.readouterr().out.splitlines()) == len(topics())
    assert invoke(["topics", "apply", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"apss-fusion: cluster {secured.bootstrap}: no authorisation for a topic: ")
    assert len(err.splitlines()) == 1


def allow(settings: Settings, operation: ACLOperation) -> None:
    """Let the worker do something with every topic."""
    every = ResourcePattern(ResourceType.TOPIC, "*")
    with admin_client(settings) as client:
        client.create_acls([ACL("User:worker", "*", operation, ACLPermissionType.ALLOW, every)])

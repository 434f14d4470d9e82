"""How each client library is told to reach the cluster, and how its errors are told in one line.

kafka-python and aiokafka get one TLS context, made here, so that a certificate that cannot be read is found before any
connection is tried, and OpenSSL never asks at a terminal for the password of a key.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, RequestTimedOutError
from kafka.net import transport

from apss_fusion.streaming.settings import Kafka, Settings, SettingsError

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

#: How long a command waits for a first answer of the cluster.
CONNECT_TIMEOUT_S = 5.0
CLIENT_ID = "apss-fusion"

#: What the brokers' refusals mean, by the names of kafka-python and aiokafka.
_MEANINGS = {
    "AuthenticationFailedError": "wrong credentials",
    "SaslAuthenticationFailedError": "wrong credentials",
    "UnsupportedSaslMechanismError": "the broker takes another SASL mechanism",
    "AuthorizationError": "no authorisation",
    "TopicAuthorizationFailedError": "no authorisation for a topic",
    "GroupAuthorizationFailedError": "no authorisation for the group",
    "ClusterAuthorizationFailedError": "no authorisation for the cluster",
    "TransactionalIdAuthorizationFailedError": "no authorisation for a transactional id",
    "UnsupportedVersionError": "the broker is too old",
    "IncompatibleBrokerVersion": "the broker is too old",
    "UnrecognizedBrokerVersion": "the broker is too old",
    "InvalidReplicationFactorError": "fewer brokers than the replication factor",
    "PolicyViolationError": "a policy of the cluster forbids it",
}

# What a library logs goes where a program says; without this, Python would write its warnings on standard error.
for _library in ("kafka", "aiokafka"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def _read_before_the_end(kind: type) -> None:
    """Let a transport of kafka-python hand over what came before the other side closed the connection.

    It drops that, and with it the refusal of credentials, which a broker sends just before it closes: of wrong
    credentials one would only hear "socket disconnected". The end itself is seen again at the next read.
    """
    receive = kind._sock_recv  # type: ignore[attr-defined]

    def received(self: Any) -> tuple[bytes, Exception | None]:
        data, error = receive(self)
        return data, None if data else error

    kind._sock_recv = received  # type: ignore[attr-defined]


for _transport in (transport.KafkaTCPTransport, transport.KafkaSSLTransport):
    _read_before_the_end(_transport)


class ClusterError(Exception):
    """Why the cluster cannot be used, in one line."""


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for any client of kafka-python.

    Raises
    ------
    SettingsError
        Security settings that do not go together, a certificate or key that cannot be read.
    """
    return {"bootstrap_servers": settings.servers, "client_id": CLIENT_ID, **_common(settings)}


def admin_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for kafka-python's `KafkaAdminClient`: as `client_options`, with a short wait for the cluster."""
    return {**client_options(settings), "bootstrap_timeout_ms": round(1000 * CONNECT_TIMEOUT_S)}


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for a producer or consumer of aiokafka; raises as `client_options`."""
    return {"bootstrap_servers": settings.servers, "client_id": CLIENT_ID, **_common(settings)}


def faust_credentials(settings: Settings) -> CredentialsT | None:
    """What a Faust app takes as `broker_credentials`; None: no security. Raises as `client_options`."""
    from faust.auth import SASLCredentials, SSLCredentials

    kafka = settings.kafka
    context = tls_context(settings)
    if kafka.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=kafka.sasl_plain_username,
            password=kafka.sasl_plain_password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the settings, None where the protocol has no TLS; raises as `client_options`."""
    kafka = settings.kafka
    _check_security(kafka)
    if not kafka.security_protocol.endswith("SSL"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_cafile is None:
        context.load_default_certs()
    else:
        with _reading("ssl_cafile", kafka.ssl_cafile):
            context.load_verify_locations(kafka.ssl_cafile)
    if kafka.ssl_certfile is not None:
        with _reading("ssl_certfile", kafka.ssl_certfile, kafka.ssl_keyfile):
            # A password of none at all would be asked for at the terminal.
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, lambda: kafka.ssl_password or "")
    return context


@contextmanager
def cluster_errors(settings: Settings) -> Iterator[None]:
    """Turns every error of kafka-python within into a `ClusterError` that names the cluster."""
    try:
        yield
    except KafkaError as error:
        raise cluster_error(settings, error) from None


def cluster_error(settings: Settings, error: BaseException) -> ClusterError:
    """One line for an error of either library: which cluster, what it means, what the library says."""
    kind = type(error).__name__
    meaning, said = _MEANINGS.get(kind), _said(error)
    return ClusterError(f"cluster {settings.bootstrap}: {': '.join(filter(None, (meaning, said))) or kind}")


@contextmanager
def admin_client(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An admin client of kafka-python that is connected, closed at the end.

    Raises
    ------
    SettingsError
        As `client_options`.
    ClusterError
        The cluster did not answer within `CONNECT_TIMEOUT_S`, refused, or broke off within the block.
    """
    options = admin_options(settings)
    with _last_trouble() as trouble, cluster_errors(settings):
        try:
            client = KafkaAdminClient(**options)
        except KafkaTimeoutError:
            raise trouble.told(settings) from None
    try:
        with cluster_errors(settings):
            yield client
    finally:
        client.close()


def check_cluster(settings: Settings) -> None:
    """See that the cluster answers and takes our credentials; raises as `admin_client`."""
    with admin_client(settings):
        pass


class _LastTrouble(logging.Handler):
    """Keeps what kafka-python logged of a connection: it tries again until its time is over, and does not say why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.error: KafkaError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error that a record speaks of, unless there is one that says more."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for error in arguments:
            if isinstance(error, KafkaError) and self._says_of(self.error) <= self._says_of(error):
                self.error = error

    @staticmethod
    def _says_of(error: KafkaError | None) -> int:
        """How much an error says."""
        if error is None or isinstance(error, KafkaTimeoutError | RequestTimedOutError):
            return 0
        return 2 if type(error).__name__ in _MEANINGS else 1

    def told(self, settings: Settings) -> ClusterError:
        """Why there was no connection in the time that there was."""
        if self._says_of(self.error) == 2 and self.error is not None:
            return cluster_error(settings, self.error)
        text = "" if self.error is None or self._says_of(self.error) == 0 else _said(self.error)
        number = re.fullmatch(r"(\d+) E[A-Z]+", text)
        reason = os.strerror(int(number[1])) if number else text
        waited = f"no answer within {CONNECT_TIMEOUT_S:g} s"
        return ClusterError(f"cluster {settings.bootstrap}: {': '.join(filter(None, (waited, reason)))}")


@contextmanager
def _last_trouble() -> Iterator[_LastTrouble]:
    """What kafka-python says of its connections goes here and nowhere else: it is told in one line, or was overcome."""
    logger = logging.getLogger("kafka.net")
    handler = _LastTrouble()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def _said(error: BaseException) -> str:
    """What an error of either library says, in one line, without its number and its own name."""
    kind = type(error).__name__
    return " ".join(re.sub(rf"^(\[Error -?\w+\] )?({kind}(: |$))?", "", str(error)).split())


def _common(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that both libraries know."""
    kafka = settings.kafka
    options: dict[str, Any] = {
        "security_protocol": kafka.security_protocol,
        "ssl_context": tls_context(settings),
        "request_timeout_ms": round(1000 * kafka.request_timeout_s),
    }
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_plain_username,
            "sasl_plain_password": kafka.sasl_plain_password,
        }
    return options


def _check_security(kafka: Kafka) -> None:
    """Settings that would be left unused, or lack others, are errors: else a secret would silently not be used."""
    protocol = kafka.security_protocol
    sasl = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    tls = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password")
    for needed, names in ((protocol.startswith("SASL"), sasl), (protocol.endswith("SSL"), tls)):
        for name in names:
            given = getattr(kafka, name) is not None
            if given and not needed:
                raise SettingsError(f"kafka.{name}: of no use with security_protocol {protocol}")
            if needed and not given and names is sasl:
                raise SettingsError(f"kafka.{name}: missing, security_protocol {protocol} needs it")
    if kafka.ssl_certfile is None and (kafka.ssl_keyfile or kafka.ssl_password):
        raise SettingsError("kafka.ssl_certfile: missing, ssl_keyfile and ssl_password belong to it")


@contextmanager
def _reading(key: str, *paths: str | None) -> Iterator[None]:
    names = " or ".join(path for path in paths if path is not None)
    try:
        yield
    except ssl.SSLError as error:
        raise SettingsError(
            f"kafka.{key}: {names}: {error.reason or 'no PEM certificate or key, or wrong password'}"
        ) from None
    except OSError as error:
        raise SettingsError(f"kafka.{key}: {names}: {error.strerror or error}") from None

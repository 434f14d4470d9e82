"""A real Kafka broker (KRaft) from its jars, without Docker: one node, or a cluster of several, on this computer.

As a command: ``python deploy/kafka.py start build/kafka --port 9092``, then ``stop``, ``kill``, ``pause``, ``resume`` or
``wipe`` with the same folder. For tests: :class:`Cluster`. Needs Java 17; Maven fetches the jars once, into the user's
cache folder, or where ``APSS_BROKER_JARS`` says. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

VERSION = "4.1.1"
_POM = Path(__file__).with_name("pom.xml")
_HOST = "127.0.0.1"
_READY = b"Kafka Server started"
#: Ports that a system does not give to clients by itself: a client that waits for a killed broker cannot take its port.
_FREE_PORTS = range(20_000, 32_000)
_HEAP = "-Xmx384m"
_START_S = 120.0
_STOP_S = 20.0
_POLL_S = 0.05

#: What every broker here is set to, beside its addresses and the number of copies.
SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may come back after this long, instead of 9 s.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024**2),
}


class Unavailable(Exception):
    """No broker can run here: Java, Maven or the jars are missing. The message says which, in one line."""


class BrokerError(Exception):
    """A broker that does not start, or a folder that holds none; one line."""


# --- what is needed ---


def java() -> str:
    """The Java to run brokers with: of JAVA_HOME, or the first on the PATH.

    Raises
    ------
    Unavailable
        There is none, or it is older than 17.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None:
        raise Unavailable("needs Java 17 or later, and there is no java on the PATH")
    try:
        said = subprocess.run([found, "-version"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{found} does not run: {error}") from None
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < 17:
        raise Unavailable(f"needs Java 17 or later; {found} is {said.partition(chr(10))[0]}")
    return found


def jars() -> Path:
    """The folder of Kafka's jars; they are fetched by Maven the first time.

    Raises
    ------
    Unavailable
        They are not there yet, and Maven is missing or fails.
    """
    folder = _jar_folder()
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"needs Maven to fetch Kafka {VERSION}, and there is no mvn on the PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f"{folder.name}.lock", fcntl.LOCK_EX):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as made:
            libraries = Path(made) / "jars"
            command = [maven, "-q", "-B", "-C", "-f", str(_POM), "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={libraries}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
                raise Unavailable(f"Maven cannot fetch Kafka {VERSION}: {lines[0] if lines else done.returncode}")
            libraries.rename(folder)
    return folder


def _jar_folder() -> Path:
    given = os.environ.get("APSS_BROKER_JARS")
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "apss-fusion" / f"kafka-{VERSION}"


def free_ports(count: int) -> list[int]:
    """Ports of this computer that nothing listens on."""
    ports: list[int] = []
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if len(ports) == count:
            break
        if _is_free(port):
            ports.append(port)
    if len(ports) < count:
        raise BrokerError(f"no {count} free ports between {_FREE_PORTS.start} and {_FREE_PORTS.stop}")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # A port that was in use a moment ago counts as free, as it does for Kafka.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


# --- a cluster ---


@dataclass(frozen=True)
class Plan:
    """What a cluster is: kept in its folder as ``cluster.json``."""

    identity: str
    #: Of each node, the port of clients and that of the controllers.
    ports: tuple[tuple[int, int], ...]
    #: Settings that stand above those of :data:`SETTINGS`.
    settings: Mapping[str, str]


class Cluster:
    """Brokers whose data is in one folder. Nodes are counted from 1; without a node, a method means all of them.

    The folder remembers ports and settings: a second object, or a second process, may go on with what the first began.

    Parameters
    ----------
    folder
        Of the data and the logs; made if it is not there.
    nodes, ports, settings
        How many; their ports for clients (the controller's is the next one), else free ones; settings of Kafka that
        stand above those of :data:`SETTINGS`. Used when the folder holds no cluster yet.
    java_options
        Of each node: the size of its heap, and what else Java takes.
    tied
        The brokers are killed, and their data deleted, when the last process that has such an object for the folder
        has closed it or has ended in whatever way, also by SIGKILL.

    Raises
    ------
    BrokerError
        The folder is not usable.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        nodes: int = 1,
        ports: tuple[int, ...] | None = None,
        settings: Mapping[str, str] | None = None,
        java_options: tuple[str, ...] = (_HEAP,),
        tied: bool = False,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.java_options = java_options
        self._users = _locked(self.folder / "users", fcntl.LOCK_SH) if tied else None
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        with _locked(self.folder / "lock", fcntl.LOCK_EX):
            self.plan = self._read() or self._write(nodes, ports, settings or {})

    @classmethod
    def found(cls, folder: str | Path) -> Cluster:
        """The cluster that a folder holds.

        Raises
        ------
        BrokerError
            It holds none.
        """
        if not (Path(folder) / "cluster.json").is_file():
            raise BrokerError(f"{folder}: there is no broker here")
        return cls(folder)

    @property
    def nodes(self) -> range:
        """The numbers of the nodes."""
        return range(1, len(self.plan.ports) + 1)

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, as clients take them."""
        return ",".join(f"{_HOST}:{port}" for port, _ in self.plan.ports)

    def start(self, node: int | None = None) -> str:
        """Start what does not run yet, and wait until it says that it is ready. Returns the addresses.

        Raises
        ------
        Unavailable
            Java, Maven or the jars are missing.
        BrokerError
            It ended, or was not ready within two minutes.
        """
        with _locked(self.folder / "lock", fcntl.LOCK_EX):
            began = {number: self._launch(number) for number in self._which(node) if not self.alive(number)}
            try:
                for number, position in began.items():
                    self._await_ready(number, position)
            except BaseException:
                for number in began:
                    self._end(number, signal.SIGKILL)
                raise
        return self.bootstrap

    def stop(self, node: int | None = None) -> None:
        """End in order; what has not ended after 20 s is killed."""
        self._end_all(node, signal.SIGTERM)

    def kill(self, node: int | None = None) -> None:
        """End at once, by SIGKILL."""
        self._end_all(node, signal.SIGKILL)

    def pause(self, node: int | None = None) -> None:
        """Let it hang, by SIGSTOP: connections stay open and nothing is answered."""
        for number in self._which(node):
            self._send(number, signal.SIGSTOP)

    def resume(self, node: int | None = None) -> None:
        """Let what was paused go on."""
        for number in self._which(node):
            self._send(number, signal.SIGCONT)

    def wipe(self, node: int | None = None) -> None:
        """Kill it and delete its data. Ports and settings stay."""
        self.kill(node)
        for number in self._which(node):
            shutil.rmtree(self._home(number), ignore_errors=True)

    def alive(self, node: int) -> bool:
        """Whether the process of a node is there, paused or not."""
        return self._pid(node) is not None

    def log(self, node: int = 1) -> str:
        """What a node wrote."""
        path = self._home(node) / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Have done with a tied cluster: where nobody else uses it, it ends and its data goes."""
        if self._users is None:
            return
        with self._users:
            if _lock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self.wipe()
        self._users = None

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._users is None:
            self.stop()
        else:
            self.close()

    # --- files of a node ---

    def _home(self, node: int) -> Path:
        return self.folder / f"node{node}"

    def _which(self, node: int | None) -> list[int]:
        if node is not None and node not in self.nodes:
            raise BrokerError(f"{self.folder}: there is no node {node}, only {len(self.nodes)}")
        return list(self.nodes) if node is None else [node]

    def _read(self) -> Plan | None:
        path = self.folder / "cluster.json"
        if not path.exists():
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return Plan(held["identity"], tuple((a, b) for a, b in held["ports"]), held["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokerError(f"{path}: {error!r}") from None

    def _write(self, nodes: int, ports: tuple[int, ...] | None, settings: Mapping[str, str]) -> Plan:
        if ports is None:
            free = free_ports(2 * nodes)
            pairs = tuple(zip(free[::2], free[1::2], strict=True))
        else:
            pairs = tuple((port, port + 1) for port in ports)
        # Kafka takes a name of 22 letters, and not one that begins like an option.
        identity = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]
        plan = Plan(identity, pairs, dict(settings))
        text = json.dumps({"identity": identity, "ports": pairs, "settings": plan.settings})
        (self.folder / "cluster.json").write_text(text, encoding="utf-8")
        return plan

    def _properties(self, node: int) -> Path:
        """Write the settings of a node."""
        copies, in_step = ("3", "2") if len(self.nodes) >= 3 else ("1", "1")
        client, controller = self.plan.ports[node - 1]
        voters = ",".join(f"{n}@{_HOST}:{c}" for n, (_, c) in zip(self.nodes, self.plan.ports, strict=True))
        values = {
            **SETTINGS,
            "node.id": str(node),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{_HOST}:{client},CONTROLLER://{_HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{_HOST}:{client}",
            "log.dirs": str(self._home(node) / "data"),
            "default.replication.factor": copies,
            "min.insync.replicas": in_step,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_step,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_step,
            **self.plan.settings,
        }
        path = self._home(node) / "server.properties"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
        return path

    # --- the process of a node ---

    def _launch(self, node: int) -> int:
        """Start a node. Returns the length of its log before."""
        run, libraries = java(), f"{jars()}/*"
        for port in self.plan.ports[node - 1]:
            if not _is_free(port):
                raise BrokerError(f"node {node} needs port {port} of {_HOST}, which is taken")
        home, properties = self._home(node), self._properties(node)
        log = home / "log"
        if not (home / "data" / "meta.properties").exists():
            tool = [run, "-cp", libraries, "kafka.tools.StorageTool", "format", "-t", self.plan.identity]
            tool += ["--ignore-formatted", "-c", str(properties)]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                raise BrokerError(f"node {node}: {_last_line(done.stdout + done.stderr)}")
        (home / "pid").unlink(missing_ok=True)
        position = log.stat().st_size if log.exists() else 0
        # Only what went wrong, and that it is ready.
        quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        quiet += ["-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"]
        command = [
            run,
            *self.java_options,
            "-XX:+UseSerialGC",
            *quiet,
            "-cp",
            libraries,
            "kafka.Kafka",
            str(properties),
        ]
        if self._users is not None:
            command = [sys.executable, str(Path(__file__).resolve()), "guard", str(home), "--", *command]
        with log.open("ab") as out:
            child = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._children[node] = child
        if self._users is None:
            (home / "pid").write_text(str(child.pid), encoding="utf-8")
        return position

    def _await_ready(self, node: int, position: int) -> None:
        child, log = self._children[node], self._home(node) / "log"
        until_s = time.monotonic() + _START_S
        while True:
            ended = child.poll() is not None
            with log.open("rb") as lines:
                lines.seek(position)
                said = lines.read()
            if ended:
                raise BrokerError(f"node {node} ended while it started: {_last_line(said.decode('utf-8', 'replace'))}")
            if _READY in said:
                return
            if time.monotonic() > until_s:
                raise BrokerError(f"node {node} was not ready within {_START_S:.0f} s: see {log}")
            time.sleep(_POLL_S)

    def _pid(self, node: int) -> int | None:
        child = self._children.get(node)
        if child is not None:
            child.poll()
        try:
            pid = int((self._home(node) / "pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return pid if str(self._home(node) / "server.properties") in _command_line(pid) else None

    def _send(self, node: int, what: signal.Signals) -> None:
        pid = self._pid(node)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def _end_all(self, node: int | None, how: signal.Signals) -> None:
        for number in self._which(node):
            self._send(number, how)
            # What is paused would only hear of it later.
            self._send(number, signal.SIGCONT)
        for number in self._which(node):
            self._end(number, how)

    def _end(self, node: int, how: signal.Signals) -> None:
        """Wait until a node is gone, and kill it where it does not go."""
        if how == signal.SIGKILL or not _wait(lambda: not self.alive(node), _STOP_S):
            self._send(node, signal.SIGKILL)
            if not _wait(lambda: not self.alive(node), _STOP_S):
                raise BrokerError(f"node {node} does not end")
        child = self._children.pop(node, None)
        if child is not None:
            child.wait()
        (self._home(node) / "pid").unlink(missing_ok=True)


def guard(home: Path, command: list[str]) -> int:
    """Run a node until it ends, or until nobody uses its cluster any more: then kill it and delete its data."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:  # noqa: S603
        (home / "pid").write_text(str(child.pid), encoding="utf-8")
        with (home.parent / "users").open("a") as users:
            while child.poll() is None:
                if _lock(users, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    child.kill()
                    child.wait()
                    shutil.rmtree(home / "data", ignore_errors=True)
                    break
                time.sleep(_POLL_S)
    return 0 if child.returncode == 0 else 1


# --- small things of the system ---


def _locked(path: Path, how: int) -> IO[str]:
    """An open file with a lock on it, which ends when the file is closed, or with this process."""
    opened = path.open("a")
    _lock(opened, how)
    return opened


def _lock(opened: IO[str], how: int) -> bool:
    """Lock an open file. False: others hold it, and `how` says not to wait."""
    try:
        fcntl.flock(opened, how)
    except BlockingIOError:
        return False
    return True


def _command_line(pid: int) -> str:
    """The words of a process; none where it is not there, or has ended and nobody took notice."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(_POLL_S)
    return True


def _last_line(text: str) -> str:
    """The line that says why: the last with an error in it, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if re.search(r"ERROR|Exception|Error:", line) and not line.startswith("at ")]
    return (wrong or lines or ["it wrote nothing"])[-1]


# --- the command ---


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status 2: it cannot be done here; 1: it failed."""
    parser = argparse.ArgumentParser(prog="kafka.py", description="A real Kafka broker from its jars, without Docker.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "start": "start it, wait until it is ready, print its addresses",
        "stop": "end it in order",
        "kill": "end it at once (SIGKILL)",
        "pause": "let it hang (SIGSTOP)",
        "resume": "let it go on (SIGCONT)",
        "wipe": "kill it and delete its data",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("folder", type=Path, help="of the data and the logs")
        command.add_argument("--node", type=int, help="one node alone, counted from 1")
        if name == "start":
            command.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="of a new cluster")
            command.add_argument(
                "--port", type=int, help="of a new cluster's first node, the next 10 above; else free ones"
            )
            command.add_argument("--heap", default=_HEAP, help="Java's option for the size of its heap (%(default)s)")
            command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of Kafka")
    commands.add_parser("jars", help="fetch Kafka's jars, print where they are")
    watch = commands.add_parser("guard")
    watch.add_argument("folder", type=Path)
    watch.add_argument("words", nargs="+")
    chosen = parser.parse_args(arguments)
    if chosen.command == "guard":
        return guard(chosen.folder, chosen.words)
    try:
        if chosen.command == "jars":
            print(jars())
        elif chosen.command == "start":
            print(_of(chosen).start(chosen.node))
        else:
            getattr(Cluster.found(chosen.folder), chosen.command)(chosen.node)
    except (Unavailable, BrokerError, OSError) as error:
        print(f"kafka.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, Unavailable) else 1
    return 0


def _of(chosen: argparse.Namespace) -> Cluster:
    ports = None if chosen.port is None else tuple(chosen.port + 10 * k for k in range(chosen.nodes))
    settings = dict(word.partition("=")[::2] for word in chosen.set)
    return Cluster(chosen.folder, nodes=chosen.nodes, ports=ports, settings=settings, java_options=(chosen.heap,))


if __name__ == "__main__":
    sys.exit(main())

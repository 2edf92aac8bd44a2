"""The container's entry point run as an engine runs it, without an engine: in a network of its own where asked for."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig import wait_for

ENTRYPOINT = Path(__file__).resolve().parents[2] / "deploy" / "docker" / "entrypoint"
STOP_TIMEOUT_S = 30
"""What compose.yaml gives it: stop_grace_period."""


class Container:
    """One run of the entry point, whose words are collected."""

    def __init__(self, words: Path, argv: Sequence[str], variables: Mapping[str, str], prefix: Sequence[str]) -> None:
        self._words = words
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with words.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, "sh", str(ENTRYPOINT), *argv],
                env={**variables, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything it printed so far."""
        return self._words.read_text()

    def wait_says(self, text: str, timeout_s: float = 90) -> None:
        """Return once it has said ``text``; fail if it ends without."""
        wait_for(lambda: text in self.said or self.process.poll() is not None, timeout_s, f"{text} in {self.said}")
        assert text in self.said, (self.process.returncode, self.said)

    def stop(self) -> int:
        """Stop it as an engine does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def a_container(
    folder: Path, *argv: str, variables: Mapping[str, str], prefix: Sequence[str] = ()
) -> Iterator[Container]:
    """Yield the entry point running; at the end it is stopped."""
    numbered = next(file for n in itertools.count() if not (file := folder / f"container-{n}.txt").exists())
    container = Container(numbered, argv or ("gwctl", "up", "--foreground"), variables, prefix)
    try:
        yield container
    finally:
        if container.process.poll() is None:
            container.stop()


@dataclass(frozen=True)
class Bridge:
    """A network namespace behind a link, as an engine makes it: addresses of both ends and of a neighbour."""

    name: str
    host: str
    inside: str
    neighbour: str
    host6: str = ""

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to run inside."""
        return ["ip", "netns", "exec", self.name]


@contextmanager
def a_bridge() -> Iterator[Bridge]:
    """Yield a namespace whose default route leads to us; needs root, and leaves nothing."""
    number = secrets.randbelow(1 << 14)
    net = f"198.{18 + (number >> 13)}.{(number >> 5) & 255}.{(number & 31) * 8}"  # of RFC 2544's, for tests
    first, _, last = net.rpartition(".")
    host, inside, neighbour = (f"{first}.{int(last) + n}" for n in (1, 2, 3))
    net6 = f"fd77:{number:x}::"
    bridge = Bridge(f"gwctl{number}", host, inside, neighbour, f"{net6}1")
    link = f"gw{number}"
    try:
        for command in (
            f"ip netns add {bridge.name}",
            f"ip link add {link} type veth peer name eth0 netns {bridge.name}",
            f"ip address add {host}/29 dev {link}",
            f"ip address add {neighbour}/29 dev {link}",
            f"ip link set {link} up",
            f"ip -n {bridge.name} link set lo up",
            f"ip -n {bridge.name} address add {inside}/29 dev eth0",
            f"ip -n {bridge.name} link set eth0 up",
            f"ip -n {bridge.name} route add default via {host}",
            f"ip address add {net6}1/64 dev {link} nodad",
            f"ip -n {bridge.name} address add {net6}2/64 dev eth0 nodad",
        ):
            subprocess.run(command.split(), check=True)
        yield bridge
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "delete", bridge.name], check=True)
        subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)

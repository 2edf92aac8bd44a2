"""A supervisor restores its deleted folder as often as needed, or leaves it to another supervisor that has it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwctl import process
from gwctl.config import load
from gwctl.core.messages import Event, FolderLost, StopWanted
from gwctl.environment import Environment
from gwctl.errors import DiskTrouble
from gwctl.supervisor import registration
from gwctl.supervisor.profile_lock import ProfileLock
from gwctl.supervisor.service import Service
from gwctl.supervisor.wiring import Order


@pytest.fixture
def posted() -> list[Event]:
    """Return the events that the loop got."""
    return []


async def unanswered(bound: socket.socket) -> None:
    """Serve nobody at the supervisor's socket."""
    bound.close()


@pytest.fixture
def service(tmp_path: Path, posted: list[Event], monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return a supervisor that holds its profile and has written its record, without a running loop."""
    monkeypatch.chdir(tmp_path)
    environment = Environment({"GWCTL_HOME": str(tmp_path / "home")})
    made = Service(Order(load("default", flags={"username": "reader"}, environment=environment), environment))
    monkeypatch.setattr(made.loop, "post", posted.append)
    made.port = 1
    assert made.hold.take()
    (made.paths.gateway_dir / "root").mkdir(mode=0o700, parents=True)
    (made.paths.gateway_dir / "root" / "conf.yaml").touch()
    made.paths.gateway_state_file.write_text("{}")
    made.registration = registration.Registration(made.paths, unanswered)
    asyncio.run(made.registration.write())
    return made


def looked(service: Service) -> None:
    """Check the folder once, and wait for the result."""

    async def look() -> None:
        service._guard_folder()
        await service.folder.is_ours()

    asyncio.run(look())


def _no_room(*_: object) -> None:
    raise DiskTrouble("no space left")


def test_deleted_folder_is_mended_once_there_is_room(
    service: Service, posted: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that could not be written at the first check are written at the next; the gateway is replaced once."""
    shutil.rmtree(service.paths.profile_dir)
    with monkeypatch.context() as full:
        full.setattr(registration, "write_json", _no_room)
        looked(service)
    assert not service.paths.supervisor_state_file.exists()
    for _ in range(3):
        looked(service)
    assert service.paths.supervisor_state_file.exists()
    assert [type(event) for event in posted] == [FolderLost]
    assert service.hold.is_intact()
    service.hold.release()


def test_folder_that_is_left_with_a_log_is_lost_all_the_same(service: Service, posted: list[Event]) -> None:
    """A gateway that writes while its folder is deleted keeps the folder, and nothing that it needs."""
    shutil.rmtree(service.paths.profile_dir)
    (service.paths.gateway_dir / "logs").mkdir(parents=True)
    looked(service)
    assert [type(event) for event in posted] == [FolderLost]
    service.hold.release()


def test_deleted_lock_alone_costs_no_session(service: Service, posted: list[Event]) -> None:
    """Deleting the lock files alone leaves the gateway running."""
    service.paths.supervisor_lock.unlink()
    looked(service)
    assert posted == []
    assert service.hold.is_intact()
    service.hold.release()


def test_folder_that_somebody_else_holds_is_left_to_them(service: Service, posted: list[Event]) -> None:
    """Law 1: the second supervisor in the new folder leaves, and takes nothing with it."""
    shutil.rmtree(service.paths.profile_dir)
    other = ProfileLock(service.paths.supervisor_lock)
    assert other.take()
    for _ in range(2):
        looked(service)
    assert posted == [StopWanted(keep_gateway=True)]
    assert not service.paths.supervisor_state_file.exists()
    other.release()


@pytest.mark.parametrize("abdicated", [False, True])
def test_who_leaves_the_field_ends_nobody_elses_gateway(
    service: Service, ended: Callable[[], bool], *, abdicated: bool
) -> None:
    """Laws 1 and 3: records in a folder that another supervisor holds belong to that supervisor."""
    service.folder.abdicated = abdicated
    asyncio.run(service.keeper.stop(logout=False, hard=True))
    assert ended() is not abdicated
    service.hold.release()


@pytest.fixture
def ended(service: Service) -> Iterator[Callable[[], bool]]:
    """Record a process as the profile's gateway, and return whether it has ended."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        cwd=service.paths.gateway_dir,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    assert child.stdout is not None
    child.stdout.readline()
    known = process.identify(child.pid)
    assert known is not None
    record = {"java": known.to_json(), "shell": None, "port": 1, "release": "x", "started_at_s": 1.0}
    service.paths.gateway_state_file.write_text(json.dumps(record))

    def has_ended() -> bool:
        try:
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            return False
        return True

    yield has_ended
    child.kill()
    child.communicate()

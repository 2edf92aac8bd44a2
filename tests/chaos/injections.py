"""How to inject and remove each fault: one context manager each, around the time in which the fault lasts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from chaos import machine
from chaos.catalogue import BY_NAME
from chaos.worlds import World, WorldLost

KNOWS_WITHIN_S = 30.0
SETTLES_WITHIN_S = 75.0
PORT_WITHIN_S = 5.0
SLEPT_S = 3600.0
CUT_S = 0.3
FORGOTTEN_WITHIN_S = 50.0
"""A JVM caches a name's address for 30 s (``networkaddress.cache.ttl``)."""
ILL_AFTER_LOGIN_S = 14.0
HUGE_MEGABYTES = 300
FALLS_WITHIN_S = 40.0


@dataclass
class Cause:
    """One fault while it lasts; ``ended_s`` is set if it ends before its context does."""

    ended_s: float | None = None


Inject = Callable[[World, Random], AbstractContextManager[Cause]]


def _at_once(harm: Callable[[World], object]) -> Inject:
    """Return an injection that ends immediately."""

    @contextlib.contextmanager
    def inject(world: World, _random: Random) -> Iterator[Cause]:
        cause = Cause(time.time())
        harm(world)
        yield cause

    return inject


def _scenario(name: str, **parameters: object) -> Inject:
    """Return an injection that switches a scenario of the fake IBKR on and off."""

    @contextlib.contextmanager
    def inject(world: World, _random: Random) -> Iterator[Cause]:
        world.scenario(name, on=True, **parameters)
        try:
            yield Cause()
        finally:
            world.scenario(name, on=False)

    return inject


# The gateway.

gateway_killed = _at_once(lambda world: world.end_gateway(signal.SIGKILL))
front_killed = _at_once(lambda world: os.kill(world.front_pid(), signal.SIGKILL))
gateway_terminated = _at_once(lambda world: world.end_gateway(signal.SIGTERM))
gateway_hung = _at_once(lambda world: world.end_gateway(signal.SIGSTOP))


@contextlib.contextmanager
def out_of_memory(world: World, _random: Random) -> Iterator[Cause]:
    """Make the gateway ask IBKR for an answer that does not fit into its heap; it holds each answer completely."""
    cause = Cause(time.time())
    if not world.run.real:
        world.end_gateway(signal.SIGUSR2)
        yield cause
        return
    pid = world.gateway_pid()
    world.ended_pids.add(pid)
    world.scenario("huge", on=True, path="/sso/validate", megabytes=HUGE_MEGABYTES)
    try:
        world.ask("POST", "/v1/api/iserver/reauthenticate")
        yield cause
        world.run.until(lambda: not machine.is_alive(pid), FALLS_WITHIN_S)
    finally:
        world.scenario("huge", on=False)


def _stop_listening(world: World) -> None:
    if world.run.real:
        pid = world.gateway_pid()
        world.ended_pids.add(pid)
        machine.close_listener(pid, world.rig.port)
    else:
        world.end_gateway(signal.SIGUSR1)


gateway_deaf = _at_once(_stop_listening)


@contextlib.contextmanager
def port_stolen(world: World, _random: Random) -> Iterator[Cause]:
    """Kill the gateway and take its port before the next one can."""
    world.end_gateway(signal.SIGKILL)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline_s = time.monotonic() + PORT_WITHIN_S
        while True:
            try:
                thief.bind(("0.0.0.0", world.rig.port))
                thief.listen(64)
                break
            except OSError:
                if time.monotonic() > deadline_s:
                    raise WorldLost("the port could not be taken") from None
                time.sleep(0.001)  # this is a race for the port
        yield Cause()


# The supervisor and the machine.


@contextlib.contextmanager
def supervisor_killed(world: World, _random: Random) -> Iterator[Cause]:
    """Kill the supervisor; the next call, by hand or by cron, ends this fault."""
    machine.signal_within(world.rig.profile_dir, world.supervisor_pid(), signal.SIGKILL)
    cause = Cause()
    yield cause
    cause.ended_s = time.time()
    exit_code = world.up()
    if exit_code != 0:
        raise WorldLost(f"up after the supervisor was killed ended with {exit_code}")


@contextlib.contextmanager
def machine_asleep(world: World, _random: Random) -> Iterator[Cause]:
    """Stop supervisor and gateway, move only the wall clock by an hour, lose the session, and continue."""
    pids = [world.supervisor_pid(), world.gateway_pid()]
    for pid in pids:
        machine.signal_within(world.rig.profile_dir, pid, signal.SIGSTOP)
    try:
        world.state.act("drop_session", {})
        yield Cause()
        world.clock.put_ahead(SLEPT_S)
    finally:
        for pid in pids:
            machine.signal_within(world.rig.profile_dir, pid, signal.SIGCONT)


# The way to IBKR.


@contextlib.contextmanager
def ibkr_refuses(world: World, _random: Random) -> Iterator[Cause]:
    """Close IBKR's port."""
    world.state.act("refuse", {"for_s": SETTLES_WITHIN_S})
    try:
        world.run.until(lambda: not _listens(world.rig.stand_in.port), PORT_WITHIN_S)
        yield Cause()
    finally:
        world.state.act("refuse", {"for_s": 0})
    if not world.run.until(lambda: _listens(world.rig.stand_in.port), PORT_WITHIN_S):
        raise WorldLost("the stand-in does not listen again")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


ibkr_hangs = _scenario("hang")
ibkr_slow = _scenario("slow", delay_ms=1200)
method_refused = _scenario("method_refused", method="POST")
flat_tickle = _scenario("flat_tickle")


@contextlib.contextmanager
def names_gone(world: World, _random: Random) -> Iterator[Cause]:
    """Make the resolver fail for every name."""
    if world.resolver is None:
        raise WorldLost("this world has no resolver of its own")
    world.resolver.gone = True
    # An open connection needs no name; assume that the cause has ended it, too.
    world.state.act("refuse", {"for_s": CUT_S})
    before = world.resolver.denied
    try:
        if not world.run.until(
            lambda: world.resolver is not None and world.resolver.denied > before, FORGOTTEN_WITHIN_S
        ):
            raise WorldLost(f"nobody asked for the name within {FORGOTTEN_WITHIN_S:g} s")
        yield Cause()
    finally:
        world.resolver.gone = False


# The session.

session_dropped = _at_once(lambda world: world.state.act("drop_session", {}))
brokerage_no_bridge = _at_once(lambda world: world.state.act("drop_brokerage", {"how": "no_bridge"}))
brokerage_unauthenticated = _at_once(lambda world: world.state.act("drop_brokerage", {"how": "unauthenticated"}))


def _empty_the_jar(world: World) -> None:
    code, body = world.ask("GET", "/clear")
    if (code, body) != (200, b"cleared"):
        raise WorldLost(f"the gateway's jar could not be emptied: {code}")


jar_emptied = _at_once(_empty_the_jar)
competing = _scenario("competing", take_over=False, client_app="TWS")


@contextlib.contextmanager
def competing_taken_over(world: World, _random: Random) -> Iterator[Cause]:
    """Let another client use the session and release it on request."""
    cause = Cause(time.time())
    world.scenario("competing", on=True, take_over=True)
    yield cause


@contextlib.contextmanager
def borrowed(world: World, _random: Random) -> Iterator[Cause]:
    """Let another client hold the session for a while."""
    _wait_until_it_knows_itself(world)
    world.scenario("borrowed", on=True)
    try:
        yield Cause()
    finally:
        world.scenario("borrowed", on=False)


@contextlib.contextmanager
def borrowed_taken_back(world: World, _random: Random) -> Iterator[Cause]:
    """Let another client hold the session until a new gateway comes."""
    _wait_until_it_knows_itself(world)
    world.ended_pids.add(world.gateway_pid())
    cause = Cause(time.time())
    world.scenario("borrowed", on=True)
    yield cause


def _wait_until_it_knows_itself(world: World) -> None:
    """Wait until the supervisor has asked for the owner of its own session: only then can it recognize another one."""
    if not world.run.until(lambda: world.asked_who() > world.asked_who_before, KNOWS_WITHIN_S):
        raise WorldLost(f"nobody asked whose the session is within {KNOWS_WITHIN_S:g} s")


@contextlib.contextmanager
def nightly_reset(world: World, _random: Random) -> Iterator[Cause]:
    """End every session and be in maintenance for a while, as every night."""
    world.scenario("http_error", on=True, status=503, html=True)
    world.state.act("drop_session", {})
    try:
        yield Cause()
    finally:
        world.scenario("http_error", on=False)


@contextlib.contextmanager
def ill_after_login(world: World, _random: Random) -> Iterator[Cause]:
    """Let the next login succeed and every answer after it be 503, until the gateway has given up its handshake."""
    sessions, before_s = world.state.sessions, world.state.sessions.last_login_s
    world.scenario("ill_after_login", on=True, for_s=ILL_AFTER_LOGIN_S)
    world.state.act("drop_session", {})
    try:
        yield Cause()
        if not world.run.until(lambda: sessions.last_login_s > before_s, SETTLES_WITHIN_S):
            raise WorldLost(f"nobody logged in within {SETTLES_WITHIN_S:g} s")
        world.run.pause(ILL_AFTER_LOGIN_S)
    finally:
        world.scenario("ill_after_login", on=False)


@contextlib.contextmanager
def never_authenticates(world: World, _random: Random) -> Iterator[Cause]:
    """Let the next login succeed without a session, until the supervisor has restarted the gateway because of it."""
    before = world.gateway_pid()
    world.ended_pids.add(before)
    world.scenario("login_never_authenticates", on=True)
    world.state.act("drop_session", {})
    try:
        yield Cause()
        if not world.run.until(lambda: not machine.is_alive(before), SETTLES_WITHIN_S):
            raise WorldLost(f"the gateway was not restarted within {SETTLES_WITHIN_S:g} s")
    finally:
        world.scenario("login_never_authenticates", on=False)


# The disk.


@contextlib.contextmanager
def disk_full(world: World, _random: Random) -> Iterator[Cause]:
    """Fill the disk and kill the gateway, so that gwctl must write something."""
    filling = machine.fill_disk(world.rig.home)
    world.end_gateway(signal.SIGKILL)
    try:
        yield Cause()
    finally:
        filling.unlink()


@contextlib.contextmanager
def state_gone(world: World, _random: Random) -> Iterator[Cause]:
    """Remove the profile's folder while supervisor and gateway run; then call ``up``."""
    world.gateway_pid()
    shutil.rmtree(world.rig.profile_dir, ignore_errors=True)
    cause = Cause()
    yield cause
    cause.ended_s = time.time()
    exit_code = world.up()
    if exit_code != 0:
        raise WorldLost(f"up after the state folder went ended with {exit_code}")


def named(name: str) -> Inject:
    """Return a fault's injection: its answer of the fake IBKR, or what has its name in this module."""
    answer = BY_NAME[name].answer
    if answer is not None:
        return _scenario(answer.scenario, **answer.parameters)
    found: Inject = globals()[name]
    return found

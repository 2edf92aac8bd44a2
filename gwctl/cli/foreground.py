"""Run the supervisor in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gwctl.background_writer import LooseThreads
from gwctl.cli.call import Call
from gwctl.cli.output import Outcome, show_error, write
from gwctl.cli.terminal import Terminal
from gwctl.config import Settings, load
from gwctl.environment import Environment, take_notification_variables
from gwctl.errors import FINAL_EXIT_CODES, GwctlError, PortBusy, TryAgain
from gwctl.history.lines import describe
from gwctl.lifecycle.follow import Ended
from gwctl.lifecycle.preflight import has_lost_port, preflight, settle_port
from gwctl.lifecycle.start import check_fast
from gwctl.supervisor.handover import Handover, LeaseHolder
from gwctl.supervisor.profile_lock import record_lost_gateway

if TYPE_CHECKING:
    from gwctl.core.messages import Finish
    from gwctl.supervisor.service import Service

FAST_FLAGS = {"auth_delay_ms": 1}
"""With --fast; with 0 the gateway cannot schedule its hand-shake."""
LINES_WAITING = 1_000
"""How many lines may wait for a stopped terminal."""


class Ask(Struct, frozen=True):
    """What a call asks of its supervisor: which IBKR, how to log in there, who started it, and with whom it ends."""

    sandbox: bool = False
    fast: bool = False
    handed_over: bool = False
    holder: LeaseHolder | None = None


def supervise(call: Call, flags: Mapping[str, Any], ask: Ask) -> Outcome:
    """Run a supervisor until it ends, and return its outcome; raise Ended with its exit code."""
    check_fast(sandbox=ask.sandbox, fast=ask.fast)
    with _streams_that_do_not_block():
        return _supervise(call, {**flags, **FAST_FLAGS} if ask.fast else flags, ask)


@contextlib.contextmanager
def _streams_that_do_not_block() -> Iterator[None]:
    """Let a thread write to stdout and stderr from now on: a terminal may be stopped, a log reader may hang.

    At the end, pending lines get a moment in total.
    """
    from gwctl.background_writer import BackgroundStream, BackgroundWriter, write_whole

    real = sys.stderr

    def miss(count: int) -> None:
        write_whole(real.fileno(), f"gwctl: dropped {count} lines here: the reader was too slow\n".encode())

    scribe = BackgroundWriter("gwctl-output", room=LINES_WAITING)
    scribe.on_left_out = miss
    streams = [BackgroundStream(stream, scribe) for stream in (sys.stdout, sys.stderr)]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.leave()


def _supervise(call: Call, flags: Mapping[str, Any], ask: Ask) -> Outcome:
    from gwctl.background_writer import set_up_log
    from gwctl.supervisor.service import Service
    from gwctl.supervisor.wiring import Order

    call.streams = call.as_json
    notification = take_notification_variables()
    handover = _take_over() if ask.handed_over else Handover()
    environment = Environment({**call.environment.variables, **handover.variables})

    def load_settings() -> Settings:
        return load(call.profile_name, flags={**handover.flags, **flags}, environment=environment)

    if ask.handed_over:
        settings, secrets = load_settings(), handover.secrets
    else:
        checked = preflight(call.target(flags), Terminal(call), sandbox=ask.sandbox)
        settings, secrets = checked.settings, Handover.make(environment, {}, checked.secrets).secrets
    set_up_log(settings.paths, verbose=call.verbose)
    record_lost_gateway(settings.paths, settings["port"])

    def follow(entry: dict[str, Any]) -> None:
        if call.as_json:
            write(json.dumps(entry), sys.stdout)
        elif not call.quiet and (line := describe(entry)) is not None:
            write(line, sys.stderr)

    order = Order(
        settings,
        environment,
        ask.sandbox,
        ask.fast,
        secrets,
        None if ask.handed_over else follow,
        attended=handover.attended,
        by_hand=handover.by_hand,
        holder=handover.holder or ask.holder,
        load=load_settings,
    )
    told = {} if ask.handed_over else notification
    service = Service(order)
    finish = asyncio.run(_run(service, told))
    # The `up` that started us chooses again itself, and a service manager that was notified of the end starts us again.
    while finish.code == PortBusy.code and not ask.handed_over and not told and has_lost_port(order.settings):
        order = replace(order, settings=settle_port(call.target(flags), order.settings, Terminal(call)))
        service = Service(order)
        finish = asyncio.run(_run(service, told))
    if service.ended_by is not None:
        return Outcome(raw="", exit_code=128 + service.ended_by)
    if finish.exit_code != 0:
        raise Ended(
            finish.text or "stopped", code=finish.code or "unexpected", exit_code=finish.exit_code, hint=finish.hint
        )
    return Outcome(raw="")


def supervise_ending_final_with_zero(call: Call, flags: Mapping[str, Any], ask: Ask) -> Outcome:
    """Do the same as ``supervise``; if only a person can continue, print why and return an outcome of 0."""
    try:
        return supervise(call, flags, ask)
    except GwctlError as error:
        if error.exit_code not in FINAL_EXIT_CODES:
            raise
        show_error("up", error, as_json=call.as_json, quiet=call.quiet, no_color=call.no_color)
        return Outcome(raw="")


async def _run(service: Service, notification: Mapping[str, str]) -> Finish:
    """Run the supervisor to its end, and notify the service manager if it asked for that."""
    asyncio.get_running_loop().set_default_executor(LooseThreads())
    if not notification:
        return await service.run()
    from gwctl.integrations.service_managers import ServiceManager

    manager = ServiceManager.of(notification)
    if manager is None:
        return await service.run()
    service.witnesses.append(manager.witness)
    watch = asyncio.get_running_loop().create_task(manager.keep_watch(service.is_live))
    try:
        return await service.run()
    finally:
        watch.cancel()
        manager.say_stopping()


def _take_over() -> Handover:
    """Read the handover of the `up` that started us; without it we would supervise another home."""
    line = sys.stdin.readline()
    if not line.strip():
        raise TryAgain("the gwctl that started this supervisor ended first", hint="gwctl up")
    return Handover.from_line(line)

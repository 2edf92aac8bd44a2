"""Checks of the connections to the gateway and to IBKR. No check calls IBKR through the gateway or logs in."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from gwctl import process
from gwctl.config import BUILT_IN
from gwctl.doctor.case import Case, Contact, Finding, failed, not_checked, ok, warning, within
from gwctl.errors import Configuration
from gwctl.http_requests import NoConnection, RequestFailed, TlsFailed, Untrusted, exchange

_RESOLVE_TIMEOUT_S = 2.5
_ANSWER_TIMEOUT_S = 5.0
"""For the connection, TLS and the answer."""
_ADDRESSES_TRIED = 2
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_CLOCK_OFF_S, _CLOCK_WRONG_S = 5.0, 60.0
_HALF_A_SECOND_S = 0.5
"""``Date`` has whole seconds."""


class _Unreachable(Exception):
    """How far a connection to IBKR got; never leaves this module."""


def check_port(case: Case) -> Iterator[Finding]:
    """Find out who holds the gateway's port."""
    port = case.port
    holder = process.find_listener(port)
    if holder is None:
        if os.geteuid() != 0 and port < 1024:
            yield failed(f"port {port} is reserved for root", "set port to one from 1024 to 65535", where=port)
            return
        # Not tested while a supervisor runs: its gateway may be about to bind it.
        if case.paths.supervisor_state_file.exists() or process.port_is_free(port):
            yield ok(f"{port} is free")
            return
        # The system's table changes while it is read, and a holder may be passed over in it.
        holder = process.find_listener(port)
    if holder is None:
        yield failed(f"port {port} cannot be used", _other_port(case, port), where=port)
        return
    if holder.cwd is not None and holder.cwd == os.path.realpath(case.paths.gateway_dir):
        yield ok(f"{port} is held by this profile's gateway (pid {holder.pid})")
        return
    if case.known.values["port"].source == BUILT_IN and not case.paths.gateway_served_file.exists():
        yield ok(f"{port} is held by {holder.describe()}; the first gwctl up takes the next free port", where=port)
        return
    yield failed(f"port {port} is held by {holder.describe()}", f"stop it, or {_other_port(case, port)}", where=port)


def _other_port(case: Case, port: int) -> str:
    free = process.next_free(port)
    return "use another port" if free is None else f"use another port: {case.command(f'up --port {free}')}"


def check_allow_ips(case: Case) -> Iterator[Finding]:
    """Check which addresses the gateway admits: by the running gateway's list, otherwise by the settings."""
    from gwctl.gateway.launch import RunningGateway, recognised
    from gwctl.gateway.work_folder import check_allow_ips as checked
    from gwctl.gateway.work_folder import rendered_allow_ips
    from gwctl.supervisor.drift import down_then_up

    setting = case.known.values["allow_ips"]
    source = setting.source
    try:
        patterns = checked(setting.value)
    except Configuration as error:
        yield failed(error.message, error.hint, where=setting.source)
        return
    running = recognised(case.paths, RunningGateway.from_json(case.state_of(case.paths.gateway_state_file)))
    in_force = None if running is None else rendered_allow_ips(case.paths)
    if in_force is not None and set(in_force) != set(patterns):
        yield warning(
            f"the running gateway admits {', '.join(in_force) or 'everybody'}; the settings say {', '.join(patterns)}",
            case.command("restart") if _reaches_supervisor(case) else down_then_up(case.known),
            where=setting.source,
        )
    if in_force is not None:
        patterns, source = in_force, "root/conf.yaml of the running gateway"
    if in_force == ():
        yield failed("the running gateway admits everybody", case.command("restart"), where=source)
        return
    beyond = [one for one in patterns if not one.startswith("127.")]
    socket_fact = "its WebSocket ignores the list, so only a firewall keeps others from the port"
    if beyond:
        yield warning(
            f"{', '.join(beyond)} can use the gateway, and so act as you; {socket_fact}",
            "remove addresses from allow_ips that you do not trust, or put a firewall in front of the port",
            where=source,
        )
        return
    yield ok(f"this machine only; {socket_fact}")


def _reaches_supervisor(case: Case) -> bool:
    """Say whether a restart applies our ``allow_ips``: a supervisor keeps the variables it was started with."""
    if case.status is None or "drift" not in case.status:
        return True
    return any(one["setting"] == "allow_ips" for one in case.status["drift"])


def check_upstream(case: Case) -> Iterator[Finding]:
    """Check each step of a connection to IBKR: name, connection, certificate, answer."""
    upstream = _upstream_of(case)
    parts = urlsplit(upstream)
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    proxy = next((name for name in _PROXIES if case.environment.get(name)), None)
    began_s = time.monotonic()
    try:
        case.contact = _contact(case, upstream, host, port)
    except _Unreachable as error:
        direct = f"; {proxy} is set, and the gateway cannot use a proxy" if proxy else ""
        yield failed(
            f"{error}{direct}",
            f"repair the connection to {host}:{port}, then: {case.command('doctor')}",
            where=upstream,
        )
        return
    if case.contact.status >= 500:
        yield warning(
            f"it answers with {case.contact.status}: IBKR has a problem or is in maintenance",
            "wait; gwctl does",
            where=upstream,
        )
        return
    yield ok(f"it answers in {(time.monotonic() - began_s) * 1000:.0f} ms", where=upstream)


def _upstream_of(case: Case) -> str:
    from gwctl.gateway.work_folder import check_upstream as checked
    from gwctl.supervisor.sandbox_process import StandInRecord

    if case.is_sandbox:
        with contextlib.suppress(KeyError, ValueError):
            record = StandInRecord.from_json(case.state_of(case.paths.sandbox_state_file))
            if record is not None:
                return record.url
    return checked(str(case.known["upstream"]))


def _contact(case: Case, upstream: str, host: str, port: int) -> Contact:
    """Request the headers of the front page, which logs nobody in."""
    try:
        addresses = within(_RESOLVE_TIMEOUT_S, lambda: case.ports.resolve(host, port))
    except TimeoutError:
        raise _Unreachable(f"no name server answered for {host} within {_RESOLVE_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise _Unreachable(f"the name {host} does not resolve: {error.strerror}") from None
    trust = _trust_public() if upstream.startswith("https:") else None
    tried = addresses[:_ADDRESSES_TRIED]
    try:
        with exchange("HEAD", f"{upstream}/", timeout_s=_ANSWER_TIMEOUT_S, trust=trust, addresses=tried) as answer:
            written_s = case.ports.wall_clock() - answer.took_s / 2
    except NoConnection as error:
        raise _Unreachable(f"no connection to port {port}: {error.reason}") from None
    except Untrusted as error:
        raise _Unreachable(f"the certificate of {host} cannot be trusted: {error.reason}") from None
    except TlsFailed as error:
        raise _Unreachable(f"TLS with {host} failed: {error.reason}") from None
    except RequestFailed as error:
        raise _Unreachable(f"{host} accepted the connection but sent no answer: {error.reason}") from None
    ahead_s: float | None = None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        ahead_s = parsedate_to_datetime(str(answer.headers.get("Date"))).timestamp() + _HALF_A_SECOND_S - written_s
    return Contact(answer.status, ahead_s, answer.took_s)


def _trust_public() -> ssl.SSLContext:
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def check_clock(case: Case) -> Iterator[Finding]:
    """Compare this machine's clock with IBKR's: TOTP codes and certificates depend on it."""
    contact = case.contact
    if contact is None or contact.ahead_s is None:
        yield not_checked("a date in IBKR's answer")
        return
    off_s = abs(contact.ahead_s)
    if off_s <= _CLOCK_OFF_S + contact.took_s:
        yield ok("agrees with IBKR's")
        return
    what = f"it is {off_s:.0f} s {'behind' if contact.ahead_s > 0 else 'ahead'} of IBKR's"
    remedy = "sudo timedatectl set-ntp true"
    if off_s <= _CLOCK_WRONG_S:
        yield warning(f"{what}: IBKR may refuse TOTP codes", remedy)
    else:
        yield failed(f"{what}: IBKR refuses TOTP codes", remedy)

"""Checks of the connections to the gateway and to IBKR, and of the certificate.

No check calls IBKR through the gateway or logs in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gwctl import process
from gwctl.doctor.case import Case, Contact, Finding, failed, not_checked, ok, warning, within
from gwctl.errors import Configuration
from gwctl.gateway import ca_bundle, keystore
from gwctl.http_requests import NoConnection, RequestFailed, TlsFailed, Untrusted, exchange
from gwctl.ownership import read_ours
from gwctl.supervisor.served import up_again

if TYPE_CHECKING:
    from cryptography import x509

_RESOLVE_TIMEOUT_S = 2.5
_ANSWER_TIMEOUT_S = 5.0
"""For the connection, TLS and the answer."""
_ADDRESSES_TRIED = 2
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_CLOCK_OFF_S, _CLOCK_WRONG_S = 5.0, 60.0
_HALF_A_SECOND_S = 0.5
"""``Date`` has whole seconds."""
_SOON = dt.timedelta(days=14)
_PERMITTED = frozenset({"localhost", "127.0.0.0/8", "::1/128"})


class _Unreachable(Exception):
    """How far a connection to IBKR got; never leaves this module."""


def check_port(case: Case) -> Iterator[Finding]:
    """Find out who holds the gateway's port."""
    from gwctl.gateway.launch import port_busy

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
    if holder is not None and holder.cwd == os.path.realpath(case.paths.gateway_dir):
        yield ok(f"{port} is held by this profile's gateway (pid {holder.pid})")
    elif holder is not None and case.known.may_change_port:
        yield ok(f"{port} is held by {holder.describe()}; the first gwctl up takes the next free port", where=port)
    else:
        busy = port_busy(case.paths, port)
        yield failed(busy.message, busy.hint, where=port)


def check_door(case: Case) -> Iterator[Finding]:
    """Check whether and how other machines use the gateway."""
    from gwctl.supervisor import door_keeper

    door, names = case.known.values["door"], case.known["certificate_names"]
    if door.value is None:
        try:
            door_keeper.check_door(case.known)
        except Configuration as error:
            yield failed(error.message, error.hint, where=case.known.values["allow_ips"].source)
        else:
            yield ok("there is no door: only this machine can use the gateway")
        return
    try:
        door_keeper.token_in(case.known, case.environment.variables)
    except Configuration as error:
        yield failed(error.message, error.hint)
        return
    shown = case.status.get("door") if case.status is not None else None
    if shown is not None and shown["problem"]:
        yield failed(shown["problem"], "gwctl logs --supervisor", where=door.source)
    elif not door.value.startswith(("127.", "[::1]")) and not names:
        remedy = f"gwctl profile set {case.profile} certificate_names=THIS_MACHINES_NAME"
        yield warning("the door's certificate names this machine as localhost only", remedy, where=door.source)
    else:
        yield ok(f"other machines reach the gateway at {door.value}, with a token or a certificate")


def check_isolation(case: Case) -> Iterator[Finding]:
    """Check who reaches the gateway's port: the running gateway's, otherwise the next one's."""
    from gwctl.gateway.firewalled import is_loaded
    from gwctl.gateway.isolated import OTHER_MACHINES, OTHER_USERS, choose_isolation

    setting, running = case.known.values["isolation"], case.gateway
    if running is not None and running.network is not None:
        yield ok("only this user's programs reach the gateway, and it reaches only its upstream")
        return
    if running is not None and (firewall := case.firewall) is not None:
        if is_loaded(firewall):
            yield ok(f"only this user's programs reach the gateway: the firewall's table {firewall.table} is loaded")
            return
        remedy = f"{case.command('service show --firewall')} | nft -f -"
        yield failed(f"OPEN: the firewall's table {firewall.table} is not loaded", remedy, where="nft list ruleset")
        return
    try:
        chosen = choose_isolation(case.known, str(case.known["upstream"]), case.environment.variables)
    except Configuration as error:
        yield failed(error.message, f"gwctl profile set {case.profile} isolation=auto", where=setting.source)
        return
    if chosen.is_open:
        text = f"OPEN: {OTHER_USERS} and {OTHER_MACHINES} reach the gateway's port: {chosen.reason}"
        off = setting.value == "off"
        closing = "close the port to others with a firewall, or use a machine of your own"
        remedy = f"gwctl profile set {case.profile} isolation=auto" if off else closing
        yield warning(text, remedy, where=setting.source)
    elif running is not None:
        yield warning("the gateway was started without isolation", case.command("restart"))
    else:
        yield ok("the next gateway is isolated: only this user's programs will reach it")


def check_upstream(case: Case) -> Iterator[Finding]:
    """Check each step of a connection to IBKR: name, connection, certificate, answer."""
    stand_in = case.stand_in if case.is_sandbox else None
    upstream = str(case.known["upstream"]) if stand_in is None else stand_in.url
    parts = urlsplit(upstream)
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    proxy = next((name for name in _PROXIES if case.environment.get(name)), None)
    try:
        contact = case.contact = _contact(case, upstream, host, port)
    except _Unreachable as error:
        direct = f"; {proxy} is set, and the gateway cannot use a proxy" if proxy else ""
        yield failed(
            f"{error}{direct}",
            f"repair the connection to {host}:{port}, then: {case.command('doctor')}",
            where=upstream,
        )
        return
    if contact.status >= 500:
        yield warning(
            f"it answers with {contact.status}: IBKR has a problem or is in maintenance",
            "wait; gwctl does",
            where=upstream,
        )
        return
    yield ok(f"it answers in {contact.took_s * 1000:.0f} ms", where=upstream)


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
        ahead_s = parsedate_to_datetime(str(answer.headers.get("date"))).timestamp() + _HALF_A_SECOND_S - written_s
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


def check_localhost(case: Case) -> Iterator[Finding]:
    """Check that localhost resolves to this machine: clients and the login's browser use it."""
    remedy = "add `127.0.0.1 localhost` to /etc/hosts"
    try:
        found = within(_RESOLVE_TIMEOUT_S, lambda: case.ports.resolve("localhost", 0))
    except TimeoutError:
        yield failed(f"localhost did not resolve within {_RESOLVE_TIMEOUT_S:g} s", remedy)
        return
    except OSError as error:
        yield failed(f"localhost does not resolve: {error.strerror}", remedy)
        return
    stray = [one for one in found if not ipaddress.ip_address(one.partition("%")[0]).is_loopback]
    if stray:
        yield failed(f"localhost resolves to {', '.join(stray)}, which is not this machine", remedy, where="/etc/hosts")
    elif "127.0.0.1" not in found:
        yield failed(
            f"localhost resolves to {', '.join(found) or 'nothing'}, but gwctl calls the gateway at 127.0.0.1",
            remedy,
            where="/etc/hosts",
        )
    else:
        yield ok(f"localhost resolves to {' and '.join(found)}")


def check_certificate(case: Case) -> Iterator[Finding]:
    """Check the authority, the gateway's certificate and key, and the bundle of all roots."""
    paths = case.paths
    remake = f"{case.command('down')}, then {case.command(up_again(case.paths))}, which makes new ones"
    ca_pem = _content(paths.ca_file)
    leaf_pem = _content(paths.leaf_file)
    if ca_pem is None:
        if leaf_pem is not None:
            yield failed("the authority that signed the gateway's certificate is missing", remake, where=paths.ca_file)
        else:
            yield ok("none yet; gwctl up creates it")
        return
    ca = _parsed(ca_pem)
    fault = _fault_of_authority(ca, paths.ca_dir / "ca.key", _asked_for(case))
    if ca is None or fault is not None:
        yield failed(f"the authority {fault}", remake, where=paths.ca_file)
        return
    if leaf_pem is None:
        yield ok(f"the authority is valid until {_day(ca)}; gwctl up creates the gateway's certificate")
        return
    leaf = _parsed(leaf_pem)
    fault = _fault_of_leaf(leaf, ca) or _fault_of_keystore(case, leaf)
    if leaf is None or fault is not None:
        yield failed(f"the gateway's certificate {fault}", remake, where=paths.leaf_file)
    elif leaf.not_valid_after_utc - _now() < _SOON:
        yield warning(
            f"the gateway's certificate expires on {_day(leaf)}", case.command("restart"), where=paths.leaf_file
        )
    else:
        yield ok(f"valid until {_day(leaf)}, the authority until {_day(ca)}")
    bundle = _content(paths.ca_bundle_file)
    if bundle is not None and not ca_bundle.is_bundle(bundle, ca_pem):
        yield warning("the bundle for SSL_CERT_FILE is out of date", case.command("env"), where=paths.ca_bundle_file)


def _content(file: Path) -> bytes | None:
    try:
        return read_ours(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(pem: bytes) -> x509.Certificate | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.date().isoformat()


def _fault_of_time(certificate: x509.Certificate) -> str | None:
    if certificate.not_valid_after_utc <= _now():
        return f"expired on {_day(certificate)}"
    if certificate.not_valid_before_utc > _now():
        return "is not valid yet: is the clock right?"
    return None


def _asked_for(case: Case) -> frozenset[str]:
    """Return the names that the authority may sign for: this machine, and the names that profiles request."""
    names = (case.state_of(case.paths.ca_dir / "ca.json") or {}).get("names")
    return _PERMITTED | {str(name) for name in names} if isinstance(names, list) else _PERMITTED


def _fault_of_authority(ca: x509.Certificate | None, key_file: Path, asked_for: frozenset[str]) -> str | None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if ca is None:
        return "is not a certificate"
    try:
        named = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except (x509.ExtensionNotFound, ValueError):
        named = []
    permitted = {_subtree(one) for one in named}
    if not permitted or not permitted <= asked_for:
        return "may sign for more names than this machine and the requested ones"
    pem = _content(key_file)
    try:
        key = None if pem is None else serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if key is None or key.public_key() != ca.public_key():
        return "has no matching key"
    return _fault_of_time(ca)


def _subtree(name: x509.GeneralName) -> str:
    value = name.value
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value) if value.num_addresses > 1 or str(value) in _PERMITTED else str(value.network_address)
    return value if isinstance(value, str) else ""


def _fault_of_leaf(leaf: x509.Certificate | None, ca: x509.Certificate) -> str | None:
    from cryptography.exceptions import InvalidSignature

    if leaf is None:
        return "is not a certificate"
    try:
        leaf.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return "is not signed by our authority"
    return _fault_of_time(leaf)


def _fault_of_keystore(case: Case, leaf: x509.Certificate | None) -> str | None:
    from cryptography.hazmat.primitives.serialization import pkcs12

    store, password = _content(case.paths.keystore_file), _content(keystore.password_file(case.paths))
    if store is None or password is None:
        return "has no keystore"
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(store, password)
    except ValueError:
        return "has a keystore that does not open"
    if key is None or certificate is None or certificate != leaf or key.public_key() != certificate.public_key():
        return "differs from the one in the keystore"
    return None

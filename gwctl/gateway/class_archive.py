"""An archive of the gateway's classes, parsed and checked once, that every later start of Java maps into memory.

HotSpot calls it AppCDS (JEP 310). Measured with Java 17 on two cores: the gateway's first answer after 0.31 s in the
place of 0.52 s, 0.4 CPU seconds in the place of 0.65, and 83 MB in the place of 108 MB, of which profiles share 30 MB.

A first gateway writes the names of the classes that it loads; once its session is up, the supervisor has a second Java,
of the lowest priority, make the archive from that list (1.6 s, 200 MB). Java uses an archive only for the very same
Java and jars, compares its checksums, and otherwise starts without it. It takes no folder on its class path, while
``run.sh`` names ``root`` there, first. So ours, in ``_JAVA_OPTIONS``, has the jars, and ``root`` after them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from gwctl import process
from gwctl.errors import GwctlError
from gwctl.gateway.java import Java
from gwctl.gateway.launch import UTF_8_LOCALE
from gwctl.ownership import read_ours
from gwctl.state_file import make_private_dir

USED = "classes.jsa"
"""The link to the archive in the gateway's folder: a relative name needs no quoting, whatever the home is called."""
LISTED = "classes.lst"
_CLASS_PATH = re.compile(rb'^export RUNTIME_PATH="\$config_path:([\w./:*-]+)"$', re.MULTILINE)
_NAMED_PLAINLY = re.compile(r"[^\s:'\"]+\.jar")
"""What is one word to the shell and to Java, which splits its variables at white space."""
_CONTRADICTING = re.compile(
    "-Xshare|Archive|SharedClassList|DumpLoadedClass|DynamicDump|:AOT|VMOptionsFile|:Flags="
    "|CompressedOops|CompressedClassPointers|CompactObjectHeaders|ObjectAlignment|UseZGC"
)
"""Options with an archive of their own, or with objects of another layout: with ours, Java ends or shares nothing."""
_STAGING = ".staging-"
_KEPT = 3
"""How many archives stay, of about 35 MB each: for profiles with other releases, and a release or Java before."""
_MAKE_TIMEOUT_S = 60.0
_FRUGAL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m")
_IN_FOLDER = 'cd "$0" || exit; { echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null; exec nice -n 19 "$@"'
"""If memory runs out meanwhile, Linux ends this Java, not the gateway."""


class ClassArchive(Struct, frozen=True):
    """The archive for one Java and one release, which may not be there yet."""

    file: Path
    java: Java
    release_path: Path
    jars: tuple[str, ...]
    """The jars on the class path of ``run.sh``, in its order, relative to the release."""

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return self.file.is_file()

    def options(self, gateway_dir: Path) -> str:
        """Return the ``_JAVA_OPTIONS`` of a gateway: use the archive, or list the classes that one is made from.

        Nothing if the disk does not take the link. Java would write through what is in the list's place.
        """
        try:
            for name in (USED, LISTED):
                (gateway_dir / name).unlink(missing_ok=True)
            if not self.exists:
                return f"-XX:DumpLoadedClassList={LISTED}"
            (gateway_dir / USED).symlink_to(self.file)
        except OSError:
            return ""
        with contextlib.suppress(OSError):  # a disk that is only read
            os.utime(self.file)
        class_path = os.pathsep.join([*self.jars, "root"])
        return f"-XX:SharedArchiveFile={USED} -XX:+VerifySharedSpaces -Djava.class.path={class_path}"

    async def make(self, gateway_dir: Path, environ: Mapping[str, str]) -> str | None:
        """Make it from what the gateway in ``gateway_dir`` has listed; return why not, None if it is there.

        Another process that is making one is not waited for. Raises GwctlError and OSError; leaves no half archive.
        """
        from filelock import FileLock, Timeout

        folder = self.file.parent
        make_private_dir(folder)
        try:
            with FileLock(folder / ".lock", timeout=0, mode=0o600):
                if not self.exists:
                    return await self._make(folder, gateway_dir, environ)
        except Timeout:
            return "another supervisor is making it"
        return None

    async def _make(self, folder: Path, gateway_dir: Path, environ: Mapping[str, str]) -> str | None:
        if (twice := await asyncio.to_thread(self._ambiguous)) is not None:
            return f"{twice} is in root and in a jar, and their order would change"
        staging = await asyncio.to_thread(self._stage, folder, gateway_dir)
        try:
            dump = [f"-XX:SharedClassListFile={LISTED}", f"-XX:SharedArchiveFile={USED}", "-Xshare:dump"]
            argv = [str(self.java.executable), *_FRUGAL, *dump, "-cp", os.pathsep.join(self.jars)]
            env = process.environment_of(process.Child.OURS, environ, {"LC_ALL": UTF_8_LOCALE})
            done = await process.run_async(
                ["sh", "-c", _IN_FOLDER, str(staging), *argv], timeout_s=_MAKE_TIMEOUT_S, env=env
            )
            if done.exit_code != 0:
                return f"Java ended with code {done.exit_code}: {(done.stderr + done.text).strip()[-200:]}"
            await asyncio.to_thread(self._keep, staging / USED)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return None

    def _stage(self, folder: Path, gateway_dir: Path) -> Path:
        """Return a folder with the list and with the jars under their relative names."""
        for leaving in folder.glob(f"{_STAGING}*"):
            shutil.rmtree(leaving, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=_STAGING))
        (staging / LISTED).write_bytes(read_ours(gateway_dir / LISTED))
        for top in sorted({jar.split("/", 1)[0] for jar in self.jars}):
            (staging / top).symlink_to(self.release_path / top)
        return staging

    def _keep(self, made: Path) -> None:
        """Put the archive in its place, and remove the oldest ones."""
        made.chmod(0o600)
        made.rename(self.file)
        by_age = sorted(self.file.parent.glob("*.jsa"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in by_age[_KEPT:]:
            old.unlink(missing_ok=True)

    def _ambiguous(self) -> str | None:
        """Return a name that both ``root`` and a jar have: our class path has root last, the release's first."""
        root = self.release_path / "root"
        ours = {one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()}
        for jar in self.jars:
            with zipfile.ZipFile(self.release_path / jar) as opened:
                if both := ours.intersection(opened.namelist()):
                    return min(both)
        return None

    def remove(self) -> None:
        """Delete it: a gateway that had it did not start, or crashed."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)


def find(folder: Path, release_path: Path, java: Java, java_options: str = "") -> ClassArchive | None:
    """Return the archive of this Java and release.

    None where Java makes none, the user's options do not go with one, or ``run.sh`` has another class path.
    """
    if not java.archives_classes or _CONTRADICTING.search(java_options):
        return None
    try:
        jars = _jars(release_path)
        digest = hashlib.blake2b(repr((java.version, _stamp(java.executable))).encode(), digest_size=8)
        for jar in jars:
            digest.update(repr((jar, _stamp(release_path / jar))).encode())
    except (OSError, GwctlError):
        return None
    name = f"{release_path.parent.name}-{digest.hexdigest()}.jsa"
    return ClassArchive(folder / name, java, release_path, jars) if jars else None


def _jars(release_path: Path) -> tuple[str, ...]:
    """Return the jars that ``run.sh`` names; none if it names them in another way."""
    found = _CLASS_PATH.search(read_ours(release_path / "bin" / "run.sh"))
    jars: list[str] = []
    for entry in found[1].decode().split(":") if found else []:
        if not entry.endswith("/*"):
            jars.append(entry)
            continue
        folder = release_path / entry.removesuffix("/*")
        jars += sorted(f"{entry.removesuffix('*')}{one.name}" for one in folder.glob("*.jar"))
    return tuple(jars) if all(_NAMED_PLAINLY.fullmatch(jar) for jar in jars) else ()


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns

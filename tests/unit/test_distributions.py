"""The wheel and the source distribution: the same bytes wherever they are built, and in the image."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from gwctl.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
SOURCES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"][
    "include"
]


def copied(names: list[str], to: Path) -> Path:
    """Copy files and folders of the checkout, without what Python has compiled; return the copy."""
    for name in names:
        place = to / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    return to


def build_command(file: Path) -> list[str]:
    """Return the arguments with which a file calls hatchling, without the folder to build into."""
    [arguments] = re.findall(r"bin/python -m hatchling (build\b.*?) -d \S+(?: \\)?$", file.read_text(), re.MULTILINE)
    return str(arguments).split()


def built(tree: Path, arguments: list[str], *, umask: int = 0o022, **environ: str) -> Path:
    """Build in a tree as its commands do, without network or isolation; return the folder with what was built."""
    folder = tree.parent / f"{tree.name}-dist"
    argv: list[str | Path] = [sys.executable, "-m", "hatchling", *arguments, "-d", folder]
    # Who sets SOURCE_DATE_EPOCH wants another time in the archives.
    known = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd=tree, umask=umask, env={**known, **environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def digests(folder: Path, pattern: str = "*") -> dict[str, dict[str, str]]:
    """Return the digest of each archive in a folder as ``whole``, and of each of its members, to see what differs."""
    return {file.name: {"whole": digest(file.read_bytes())} | dict(members(file)) for file in folder.glob(pattern)}


def members(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the members of a wheel or a source distribution, each with a digest of its content."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            yield from ((name, digest(wheel.read(name))) for name in wheel.namelist())
    else:
        with tarfile.open(file) as sdist:
            for member in sdist.getmembers():
                content = sdist.extractfile(member)
                assert content is not None, member.name
                yield member.name, digest(content.read())


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the release's own command builds from the checkout."""
    tree = copied(["pyproject.toml", ".gitignore", *SOURCES], tmp_path_factory.mktemp("released") / "tree")
    return built(tree, build_command(RELEASE), TZ="UTC", PYTHONHASHSEED="1")


def test_another_place_time_and_umask_build_the_same_bytes(tmp_path: Path, released: Path) -> None:
    """A used copy at another path, with other times, modes, umask and time zone, gives the same wheel and sdist."""
    tree = copied(["pyproject.toml", ".gitignore", *SOURCES], tmp_path / "a longer path" / "of another tree")
    compiled = tree / "gwctl" / "__pycache__" / "version.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"compiled")
    for number, file in enumerate([tree, *tree.rglob("*")]):
        file.chmod(file.stat().st_mode & 0o700)
        os.utime(file, (1_000_000_000 + number * 3, 1_000_000_000 + number * 3))
    again = digests(built(tree, build_command(RELEASE), umask=0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="2", LC_ALL="C"))
    assert {Path(name).suffix for name in again} == {".whl", ".gz"}
    assert again == digests(released)


def test_the_source_distribution_builds_the_same_wheel(tmp_path: Path, released: Path) -> None:
    """Whoever builds from the source distribution gets the wheel of the release."""
    [archive] = released.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    [tree] = tmp_path.iterdir()
    wheel = digests(built(tree, ["build", "-t", "wheel"]))
    assert wheel == digests(released, "*.whl")


def test_the_image_has_the_wheel_of_the_release(tmp_path: Path, released: Path) -> None:
    """What the Dockerfile copies into its builder, built by its command, is the wheel of the release."""
    steps = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes())).structure
    froms = [index for index, step in enumerate(steps) if step["instruction"] == "FROM"]
    builder = [step["value"].split() for step in steps[froms[0] : froms[1]] if step["instruction"] == "COPY"]
    assert all(words[-1] in {"./", *words[:-1]} for words in builder)
    tree = copied([name for words in builder for name in words[:-1]], tmp_path / "src")
    wheel = digests(built(tree, build_command(DOCKERFILE)))
    assert wheel == digests(released, "*.whl")


def test_the_package_page_has_no_relative_link(released: Path) -> None:
    """Links and pictures of the README lead to files of this release, which exist, in wheel and source distribution."""
    [wheel], [archive] = released.glob("*.whl"), released.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        [name] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        said = opened.read(name).decode()
    with tarfile.open(archive) as opened:
        [info] = [member for member in opened.getmembers() if member.name.endswith("/PKG-INFO")]
        content = opened.extractfile(info)
        assert content is not None
        assert content.read().decode().partition("\n\n")[2] == said.partition("\n\n")[2]
    head, _, page = said.partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    places = {
        True: f"https://raw.githubusercontent.com/gwctl/gwctl/v{VERSION}/",
        False: f"https://github.com/gwctl/gwctl/blob/v{VERSION}/",
    }
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", page)
    ours = [(place, target) for mark, target in links if target.startswith(place := places[bool(mark)])]
    assert len(ours) > 15
    assert all((ROOT / target.removeprefix(place).partition("#")[0]).exists() for place, target in ours)
    assert all(target.startswith("https://") for _, target in links)
    assert not re.search(r"<(img|a)\b", page)

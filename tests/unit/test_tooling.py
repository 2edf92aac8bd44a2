"""What builds, checks and releases gwctl: the lock, the linters' lists of programs, the workflows, the issue forms."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from gwctl.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(file for file in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def run(*argv: str | Path) -> None:
    """Run a checker; fail with what it says."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_clone_in_another_project_adds_no_tests_to_it(tmp_path: Path) -> None:
    """`pytest` in a project with a clone in its folder, as docs/how-to/ci.md has it, collects the project's tests."""
    clone = tmp_path / "vendor" / "gwctl"
    (clone / "tests" / "unit").mkdir(parents=True)
    for name in ("pyproject.toml", "conftest.py", "tests/conftest.py", "tests/unit/test_times.py"):
        shutil.copy(ROOT / name, clone / name)
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = subprocess.run(
        [TOOLS / "pytest", "--collect-only", "-q"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0] == "test_own.py::test_own", done.stdout
    assert "1 test collected" in done.stdout


def strings(file: Path) -> Any:
    """Return a YAML file's content, every scalar a string: YAML 1.1 would take `on` for true."""
    return yaml.load(file.read_text(), yaml.BaseLoader)  # noqa: S506 - reads strings only


def programs() -> set[str]:
    """Return the scripts that are Python without its ending."""
    files = [file for file in (ROOT / "scripts").iterdir() if file.is_file()]
    return {f"scripts/{file.name}" for file in files if file.read_text().startswith("#!/usr/bin/env python3")}


# The lock.


def locked(file: Path) -> dict[str, list[tuple[str, Requirement]]]:
    """Return what a lock names, by name: versions with the requirement that each stands in."""
    found: dict[str, list[tuple[str, Requirement]]] = {}
    for line in file.read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\").strip())
            [pin] = requirement.specifier
            assert pin.operator == "=="
            found.setdefault(requirement.name, []).append((pin.version, requirement))
    return found


def wanted(*lists: list[str]) -> list[Requirement]:
    """Return the requirements of lists of pyproject.toml."""
    return [Requirement(line) for each in lists for line in each]


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("run", wanted(PROJECT["dependencies"])),
        ("image", wanted(PROJECT["dependencies"], EXTRAS["metrics"], EXTRAS["notify"])),
        ("dev", wanted(PROJECT["dependencies"], *EXTRAS.values(), *GROUPS.values())),
        ("build", wanted(GROUPS["build"], PYPROJECT["build-system"]["requires"])),
        ("docs", wanted(GROUPS["docs"])),
    ],
)
def test_the_lock_is_of_this_pyproject(name: str, requirements: list[Requirement]) -> None:
    """Each requirement has, for each supported Python, one locked version that it allows; scripts/lock renews them."""
    pins = locked(ROOT / "requirements" / f"{name}.txt")
    for requirement in requirements:
        plain = re.sub(r"[-_.]+", "-", requirement.name).lower()
        for python in SUPPORTED:
            here = {"python_version": python, "python_full_version": f"{python}.9"}
            fit = [version for version, pin in pins.get(plain, []) if pin.marker is None or pin.marker.evaluate(here)]
            assert len(fit) == 1, (requirement, python, "run scripts/lock")
            assert requirement.specifier.contains(fit[0], prereleases=True), (requirement, "run scripts/lock")


def test_the_parts_of_the_lock_agree() -> None:
    """Every file of the lock names the same version and hashes of a package."""
    whole = {entry(block) for block in blocks("dev")}
    for file in LOCKS:
        assert {entry(block) for block in blocks(file.stem)} <= whole, file.name


def entry(block: str) -> tuple[str, frozenset[str]]:
    """Return what a lock's entry pins and its hashes, without the machines that it is for."""
    return block.split(maxsplit=1)[0], frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))


def blocks(name: str) -> list[str]:
    """Return a lock's entries, each with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return [block.strip() for block in re.split(r"\n(?=[a-z0-9])", text) if block[:1].isalnum()]


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.name)
def test_the_lock_has_hashes_and_no_index(file: Path) -> None:
    """Each package has hashes, and where it came from is left to whoever installs it."""
    text = file.read_text()
    assert not re.search(r"://|^ *-(i|f|-)", text.replace("    --hash=", "    hash="), re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks(file.stem))


def test_the_lock_of_node_has_hashes_and_no_registry() -> None:
    """The same for the packages of Node.js that the tests' clients use: exact versions, and a hash for each package."""
    folder = ROOT / "requirements" / "clients"
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == asked
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked
    assert all(one["integrity"].startswith("sha512-") and "resolved" not in one for one in packages.values())


def test_the_bill_of_materials_is_the_lock(tmp_path: Path) -> None:
    """scripts/sbom names each locked package with version and hashes, in valid CycloneDX, always in the same bytes."""
    once, again = tmp_path / "once", tmp_path / "again"
    # The validator is most of its time. Without it, it says so.
    assert "Validation skipped" not in bill_of_materials(once)
    assert "Validation skipped" in bill_of_materials(again, "--no-validate")
    for lock, name in (("run", f"gwctl-{VERSION}.cdx.json"), ("image", f"gwctl-image-{VERSION}.cdx.json")):
        assert (once / name).read_bytes() == (again / name).read_bytes()
        bom = json.loads((once / name).read_text())
        assert (bom["bomFormat"], bom.get("serialNumber"), bom["metadata"].get("timestamp")) == (
            "CycloneDX",
            None,
            None,
        )
        assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["version"]) == ("gwctl", VERSION)
        assert {component(one) for one in bom["components"]} == {entry(block) for block in blocks(lock)}


def bill_of_materials(folder: Path, *arguments: str) -> str:
    """Have scripts/sbom write into a folder; return what it says."""
    environ = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    environ["PATH"] = f"{TOOLS}{os.pathsep}{environ['PATH']}"
    argv: list[str | Path] = [ROOT / "scripts" / "sbom", folder, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def component(described: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """Return what a component of a bill of materials pins and its hashes, as ``entry`` does of a lock's."""
    hashes = [one for reference in described["externalReferences"] for one in reference.get("hashes", [])]
    assert {one["alg"] for one in hashes} == {"SHA-256"}
    return f"{described['name']}=={described['version']}", frozenset(f"sha256:{one['content']}" for one in hashes)


# The linters see every program.


def test_linters_know_every_script() -> None:
    """Each Python program in scripts/ is checked by ruff and mypy; scripts/chaos only calls its package in tests/."""
    assert set(PYPROJECT["tool"]["ruff"]["extend-include"]) == programs()
    listed = {one for one in PYPROJECT["tool"]["mypy"]["files"] if one.startswith("scripts/")}
    assert listed == programs() - {"scripts/chaos"}


def test_shell_scripts_pass_shellcheck() -> None:
    """Every other script passes shellcheck."""
    every = {f"scripts/{file.name}" for file in (ROOT / "scripts").iterdir() if file.is_file()}
    run(TOOLS / "shellcheck", *sorted(every - programs()), ".ci/run")


def test_hooks_need_no_network() -> None:
    """Each hook runs a program of the project's own environment, and pre-commit accepts the file."""
    config = strings(ROOT / ".pre-commit-config.yaml")
    [repository] = config["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    for hook in repository["hooks"]:
        words = hook["entry"].split()
        assert words[0].startswith(".venv/bin/")
        assert all((ROOT / word).exists() for word in words if word.startswith("scripts/"))
    run(TOOLS / "pre-commit", "validate-config", ".pre-commit-config.yaml")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"no end", "no newline at the end"),
        ("a.txt", b"two ends\n\n", "empty lines at the end"),
        ("a.txt", b"one\nblank \n", "line 2: blanks at the end"),
        ("a.txt", b"a\r\n", "line 1: blanks at the end"),
        ("a.md", b"<<<<<<< HEAD\n", "line 1: a mark of a merge conflict"),
        ("a.yaml", b"a: [\n", "while parsing"),
        ("a.toml", b"a = \n", "Invalid value"),
        ("a.json", b"{,}\n", "Expecting property name"),
        ("a.txt", b"\xff\n", "no UTF-8"),
        ("a.yml", b"a: 1\n", ""),
    ],
)
def test_check_files_says_what_is_wrong(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A file that is not whole or does not parse is named with the reason, exit 1."""
    (tmp_path / name).write_bytes(content)
    argv: list[str | Path] = [sys.executable, ROOT / "scripts" / "check-files", tmp_path / name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout)) == (int(bool(said)), bool(said))
    assert said in done.stdout


# What GitHub reads.


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
    ],
)
def test_files_for_github_are_valid(schema: str, files: list[Path]) -> None:
    """Each is valid by the schema that is published for it."""
    assert files
    run(TOOLS / "check-jsonschema", "--builtin-schema", schema, *files)


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of every job."""
    return [step for job in strings(workflow)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_are_held_tight(tmp_path: Path, workflow: Path) -> None:
    """Actions are pinned to a commit, jobs only read by default and have an end, scripts have no input pasted in."""
    content = strings(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in content["jobs"].values())
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"])
            assert re.search(rf"{re.escape(step['uses'])} # v\d", workflow.read_text())
        else:
            assert "${{" not in step["run"]
            file = tmp_path / "step"
            file.write_text(step["run"])
            run(TOOLS / "shellcheck", "-s", "bash", file)
            for word in re.findall(r"(?<!\S)((?:scripts|requirements|\.ci)/\S+)", step["run"]):
                assert (ROOT / word).exists(), word


def test_zizmor_has_nothing_to_say() -> None:
    """The workflows and the action pass the hook's own check, its reasons standing beside what it lets pass."""
    hooks = {
        hook["id"]: hook["entry"].split() for hook in strings(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    }
    program, *arguments = hooks["zizmor"]
    assert "--offline" in arguments
    run(TOOLS / Path(program).name, *arguments)


def test_ci_runs_on_what_is_supported() -> None:
    """Linux and macOS, each with every Python that the metadata names."""
    matrix = strings(GITHUB / "workflows" / "ci.yml")["jobs"]["unit"]["strategy"]["matrix"]
    assert matrix["python"] == list(SUPPORTED)
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
    prefix = "Programming Language :: Python :: 3."
    named = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if one.startswith(prefix)}
    assert named == set(SUPPORTED)
    assert PROJECT["requires-python"] == f">={SUPPORTED[0]}"


def git(folder: Path, *argv: str) -> None:
    """Run git in a folder, as nobody in particular."""
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *argv], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("event", "changed", "audited"),
    [("schedule", "gwctl", True), ("pull_request", "requirements", True), ("pull_request", "gwctl", False)],
)
def test_the_lock_is_audited_when_it_changes(tmp_path: Path, event: str, changed: str, *, audited: bool) -> None:
    """Known weaknesses are asked for on Mondays, and for a pull request that changes the lock; none may be skipped."""
    job = strings(GITHUB / "workflows" / "ci.yml")["jobs"]["audit"]
    [look] = [step for step in job["steps"] if step.get("id") == "lock"]
    [ask] = [step["run"] for step in job["steps"] if "pip-audit" in step.get("run", "")]
    assert "pip-audit --strict" in ask
    assert {"requirements/run.txt", "requirements/image.txt"} <= set(ask.split())
    assert {step.get("if") for step in job["steps"][2:]} == {"steps.lock.outputs.audit"}
    for name in ("requirements", "gwctl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("before")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=before")
    git(tmp_path, "checkout", "--quiet", "-b", "request")
    (tmp_path / changed / "file").write_text("after")
    git(tmp_path, "commit", "--quiet", "--all", "--message=after")
    git(tmp_path, "checkout", "--quiet", "main")
    git(tmp_path, "merge", "--quiet", "--no-ff", "--message=merged", "request")
    output = tmp_path.parent / f"{tmp_path.name}.output"
    environ = {**os.environ, "GITHUB_EVENT_NAME": event, "GITHUB_OUTPUT": str(output)}
    subprocess.run(["bash", "-e", "-c", look["run"]], cwd=tmp_path, env=environ, check=True)
    assert output.exists() == audited


def test_only_the_release_may_publish() -> None:
    """The release publishes without a token, from an environment, with attestations; nothing else gets an identity."""
    jobs = strings(GITHUB / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "release"
    [publish] = [step for step in steps(GITHUB / "workflows" / "release.yml") if "pypi-publish" in step.get("uses", "")]
    assert publish["with"] == {"attestations": "true"}
    assert "id-token" not in (GITHUB / "workflows" / "ci.yml").read_text()
    assert all("secrets." not in workflow.read_text() for workflow in WORKFLOWS)


def test_a_release_brings_its_bill_of_materials() -> None:
    """What scripts/sbom writes is attested and attached to the release, and the package index gets none of it."""
    jobs = strings(GITHUB / "workflows" / "release.yml")["jobs"]
    said = {name: json.dumps(job["steps"]) for name, job in jobs.items()}
    assert "scripts/sbom sbom" in said["sbom"]
    assert set(jobs["publish"]["needs"]) == {"build", "sbom"}
    assert "sbom" not in said["publish"]
    [attest] = [one for one in jobs["github-release"]["steps"] if "attest-build-provenance" in one.get("uses", "")]
    assert attest["with"]["subject-path"].split() == ["dist/*", "sbom/*"]
    assert jobs["github-release"]["steps"][-1]["run"].endswith(" dist/* sbom/*")


@pytest.mark.parametrize("name", ["bug", "login-page"])
def test_reports_ask_for_the_bundle(name: str) -> None:
    """Who reports that something does not work is asked for the redacted bundle, and warned of secrets."""
    [form] = [file for file in FORMS if file.stem == name]
    body = strings(form)["body"]
    [bundle] = [one for one in body if one.get("id") == "bundle"]
    assert "gwctl doctor --bundle report.zip" in bundle["attributes"]["description"]
    assert bundle["validations"]["required"] == "true"
    assert "Never paste a password" in body[0]["attributes"]["value"]


# The version has one place.


def test_the_version_is_in_one_place() -> None:
    """pyproject.toml reads it from gwctl/version.py; only names of images, which have to name one, repeat it."""
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "gwctl/version.py"
    places = [*(ROOT / one for one in ("gwctl", "scripts", "deploy", ".github", ".ci", "tests"))]
    files = [file for place in places for file in place.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    files += [ROOT / "pyproject.toml", ROOT / "action.yml", ROOT / "README.md", ROOT / "docs" / "conf.py"]
    repeats = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.])".encode())
    found = {str(file.relative_to(ROOT)) for file in files if repeats.search(file.read_bytes())}
    images = {"deploy/kubernetes/components/image/kustomization.yaml", "deploy/kubernetes/reset-lockout.yaml"}
    assert found - {"gwctl/version.py"} == images


def test_the_docs_need_nothing_but_their_script() -> None:
    """CI builds the docs from a fresh clone with scripts/docs alone, in an environment that has their group."""
    job = strings(GITHUB / "workflows" / "ci.yml")["jobs"]["docs"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/docs"]
    lines = (ROOT / "scripts" / "docs").read_text().splitlines()
    assert lines.index("scripts/set-up --docs") < next(at for at, line in enumerate(lines) if "-m sphinx" in line)

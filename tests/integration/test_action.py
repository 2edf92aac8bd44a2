from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_fakes import Home, RealHome, a_home, a_real_home

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
PAGE = ROOT / "docs" / "how-to" / "ci.md"
BIN = Path(sys.executable).parent
SCHEMAS = {"on": "vendor.github-workflows", "runs": "vendor.github-actions", "": "vendor.gitlab-ci"}


def action() -> dict[str, Any]:
    """Return the action."""
    value: dict[str, Any] = yaml.load(ACTION.read_text(), yaml.BaseLoader)  # noqa: S506 - reads strings only
    return value


def snippets(language: str) -> list[str]:
    """Return the page's examples in one language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return list(found)


def shellcheck(script: Path, shell: str) -> None:
    """Assert that shellcheck has nothing to say."""
    done = subprocess.run([BIN / "shellcheck", "-s", shell, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("text", [ACTION.read_text(), *snippets("yaml")])
def test_published_schemas(tmp_path: Path, text: str) -> None:
    """The action and each example for GitHub and GitLab are valid by the schemas published for them."""
    content = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - reads strings only; YAML 1.1 would take `on` for true
    schema = next(name for key, name in SCHEMAS.items() if not key or key in content)
    file = tmp_path / "file.yml"
    file.write_text(text)
    argv: list[str | Path] = [BIN / "check-jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_examples_use_inputs_that_exist() -> None:
    """Each example of the action gives inputs that it has."""
    used = [
        step["with"].keys()
        for text in snippets("yaml")
        for job in yaml.load(text, yaml.BaseLoader).get("jobs", {}).values()  # noqa: S506 - reads strings only
        for step in job["steps"]
        if step.get("uses", "").startswith("gwctl/") and "with" in step
    ]
    assert len(used) == 2
    assert all(keys <= action()["inputs"].keys() for keys in used)


def test_scripts_are_sound(tmp_path: Path) -> None:
    """No input reaches a script but as a variable; shellcheck finds nothing in the action's scripts or the page's."""
    for number, step in enumerate(action()["runs"]["steps"]):
        assert "${{" not in step["run"], "an input in a script's text is code"
        script = tmp_path / f"step-{number}"
        script.write_text(step["run"])
        shellcheck(script, "bash")
    for number, text in enumerate(snippets("sh")):
        script = tmp_path / f"page-{number}"
        script.write_text(text)
        shellcheck(script, "sh")


@dataclass
class Runner:
    """What a runner does with a composite action: steps in processes of their own, files that carry over."""

    folder: Path
    environment: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def run(self, inputs: dict[str, str], *, starter: list[str] | None = None) -> int:
        """Run the action's steps and return the code of the first that fails, else 0."""
        given = {name: inputs.get(name, one.get("default", "")) for name, one in action()["inputs"].items()}
        assert given.keys() >= inputs.keys()
        for step in action()["runs"]["steps"]:
            variables = {name: self._value(text, given) for name, text in step.get("env", {}).items()}
            if code := self.step(step["run"], variables, step.get("id"), starter or []):
                return code
        return 0

    def step(self, script: str, variables: dict[str, str], step_id: str | None, starter: list[str]) -> int:
        """Run one step as `shell: bash` does, and take over what it leaves for the next."""
        file = self.folder / "step.sh"
        file.write_text(script)
        files = {name: self.folder / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH")}
        for one in files.values():
            one.write_text("")
        done = subprocess.run(
            [*starter, "bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
            env={**self.environment, **variables, **{name: str(path) for name, path in files.items()}},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.log += done.stdout + done.stderr
        self.environment |= dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
        if step_id is not None:
            outputs = files["GITHUB_OUTPUT"].read_text().splitlines()
            self.outputs[step_id] = dict(line.split("=", 1) for line in outputs)
        return done.returncode

    def output(self, name: str) -> str:
        """Return one of the action's outputs."""
        match = re.fullmatch(r"\$\{\{ steps\.([\w-]+)\.outputs\.([\w-]+) \}\}", action()["outputs"][name]["value"])
        assert match is not None
        return self.outputs[match[1]][match[2]]

    def _value(self, text: str, inputs: dict[str, str]) -> str:
        if match := re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text):
            return inputs[match[1]]
        if "${{" not in text:
            return text
        assert text == "${{ inputs.home || format('{0}/gwctl', runner.temp) }}", text
        return inputs["home"] or f"{self.environment['RUNNER_TEMP']}/gwctl"


def a_runner(home: Home) -> Runner:
    """Return a runner whose PATH has gwctl from this tree, and whose jobs have nothing else of ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GWCTL_")}
    environment |= {"PATH": f"{BIN}:{environment['PATH']}", "RUNNER_TEMP": str(home.folder), "CI": "true"}
    environment |= {"GWCTL_AUTH_DELAY_MS": "100"}
    return Runner(home.folder, environment)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield the home that the action makes below the runner's folder, under the name it gives it."""
    with a_home(tmp_path) as home:
        home.home = tmp_path / "gwctl"
        home.variables["GWCTL_HOME"] = str(home.home)
        yield home


CALL = 'curl -fsS --cacert "$GWCTL_CA_FILE" "$GWCTL_BASE_URL/portfolio/accounts"'


@pytest.mark.wide
def test_a_script_in_the_sandbox(home: Home) -> None:
    """`run` has the session and its variables; its code is the step's, quotes in it are its own; nothing is left."""
    runner = a_runner(home)
    script = f"{CALL}\necho \"it's $GWCTL_PROFILE\" '$HOME'; env >variables; exit 7"
    assert runner.run({"run": script, "port": str(home.port)}) == 7
    assert "DU1234567" in runner.log
    assert "it's default $HOME" in runner.log
    assert runner.output("base-url") == f"https://localhost:{home.port}/v1/api"
    assert runner.output("ca-file") == str(home.home / "ca" / "ca.pem")
    assert runner.output("profile") == "default"
    names = {line.partition("=")[0] for line in (home.folder / "variables").read_text().splitlines()}
    assert not names & {"PASSWORD", "TOTP_SECRET", "RUN", "MODE", "GWCTL_PASSWORD", "GWCTL_TOTP_SECRET"}
    assert home.left() == []


def test_a_session_for_later_steps(home: Home, tmp_path: Path) -> None:
    """Without `run` later steps have the session; `gwctl down` ends it, or else the end of the runner's own process."""
    runner = a_runner(home)
    worker = tmp_path / "Runner.Worker"
    shutil.copy(shutil.which("bash") or "", worker)
    starter = [str(worker), "-c", '"$@"; code=$?; exit $code', "worker"]
    assert runner.run({"port": str(home.port)}, starter=[]) == 0
    assert runner.step(CALL, {}, None, []) == 0, runner.log
    assert runner.step("gwctl down", {}, None, []) == 0
    assert home.left() == []
    assert runner.environment["GWCTL_HOME"] == str(home.home)
    assert runner.run({"port": str(home.port)}, starter=starter) == 0, runner.log
    # Each step has a worker of its own here; the session has ended with the one that brought it up.
    home.gwctl("wait", "--for", "stopped", "--timeout", "30").check(0)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"mode": "live"}, "mode must be sandbox or paper"),
        ({"profile": "a\nPATH=/tmp"}, "an input contains a line break"),
        ({"mode": "paper", "password": "a\nb"}, "a secret contains a line break"),
    ],
)
def test_what_is_refused(home: Home, inputs: dict[str, str], told: str) -> None:
    """What would be another line of a file of the runner's, and a live account, are refused before anything starts."""
    runner = a_runner(home)
    assert runner.run({**inputs, "port": str(home.port)}) == 78
    assert f"::error title=gwctl::{told}" in runner.log
    assert "PATH=/tmp" not in runner.log
    assert not home.home.exists()


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(240)
def test_a_paper_account(tmp_path: Path, real_release_zip: Path) -> None:
    """On the real gateway: the password is masked and nowhere else, in no log, file, variable or later step."""
    with a_real_home(tmp_path, real_release_zip) as home:
        runner = a_runner(home)
        runner.environment |= {"GWCTL_UPSTREAM": home.variables["GWCTL_UPSTREAM"]}
        inputs = {"mode": "paper", "username": home.account.username, "password": home.account.password}
        inputs |= {"home": str(home.home), "port": str(home.port)}
        assert runner.run({**inputs, "run": f"{CALL}; env >variables"}) == 0, runner.log
        assert runner.log.count(home.account.password) == 1
        assert f"::add-mask::{home.account.password}\n" in runner.log
        assert home.submits() == 1
        assert holding(home, home.account.password) == []


def holding(home: RealHome, secret: str) -> list[str]:
    """Return the files below a home's folder that have a secret in them."""
    files = (file for file in home.folder.rglob("*") if stat.S_ISREG(file.lstat().st_mode))
    return [str(file) for file in files if secret.encode() in file.read_bytes()]


def test_percent_signs_are_masked_as_the_runner_reads_them(home: Home) -> None:
    """The runner decodes what follows a command's colons; a secret with a percent sign is encoded for it."""
    runner = a_runner(home)
    secret = f"50%25{secrets.token_hex(4)}"
    assert runner.run({"password": secret, "mode": "neither"}) == 78
    assert f"::add-mask::{secret.replace('%', '%25')}\n" in runner.log


@pytest.mark.wide
def test_the_script_for_anywhere_else(home: Home) -> None:
    """The page's script for a job that is one process does what it says, typed as it stands."""
    script = next(text for text in snippets("sh") if "--tether $$" in text)
    environment = {**a_runner(home).environment, "GWCTL_HOME": str(home.home), "GWCTL_PORT": str(home.port)}
    argv = ["sh", "-c", script]
    done = subprocess.run(argv, cwd=home.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DU1234567" in done.stdout
    assert home.left() == []


def test_a_folder_with_a_line_break_is_no_line_of_a_file(home: Home) -> None:
    """`env --dotenv` refuses what would be read as another variable; as export lines it is quoted."""
    odd = str(home.folder / "a\nPATH=b")
    assert home.gwctl("env", "--dotenv", GWCTL_HOME=odd).check(78).stdout == ""
    home.gwctl("env", GWCTL_HOME=odd).check(0)

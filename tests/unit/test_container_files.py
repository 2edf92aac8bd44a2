"""The Dockerfile and the compose files, read by their own checkers and held to what the page on containers promises."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from gwctl.setting_keys import SECRET_KEYS

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "docker"
TOOLS = Path(sys.executable).parent
COMPOSE_FILES = sorted(FOLDER.glob("compose*.yaml"))
SECRET = re.compile(
    "|".join(f"GWCTL_{name.upper()}(?!_FILE)" for name in SECRET_KEYS) + "|PASSWORD=|TOKEN", re.IGNORECASE
)


def run(*argv: str | Path) -> None:
    """Run a checker; fail with what it says."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def instructions() -> list[dict[str, Any]]:
    """Return the Dockerfile's instructions as a parser sees them."""
    found: list[dict[str, Any]] = DockerfileParser(fileobj=io.BytesIO((FOLDER / "Dockerfile").read_bytes())).structure
    return found


def last_stage() -> dict[str, str]:
    """Return the final stage's instructions, of each kind the last."""
    steps = instructions()
    first = max(index for index, step in enumerate(steps) if step["instruction"] == "FROM")
    return {step["instruction"]: step["value"] for step in steps[first:]}


def services(file: Path) -> dict[str, dict[str, Any]]:
    """Return a compose file's services, anchors resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["services"]
    return found


def gateways() -> list[tuple[str, dict[str, Any]]]:
    """Return every service that runs gwctl and is whole by itself."""
    every = [(f"{file.name}: {name}", one) for file in COMPOSE_FILES for name, one in services(file).items()]
    return [(name, one) for name, one in every if one.get("image") == "gwctl"]


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile passes hadolint, its reasons standing beside what it lets pass."""
    run(TOOLS / "hadolint", "--failure-threshold", "style", FOLDER / "Dockerfile")


def test_the_image_keeps_its_promises() -> None:
    """Not root, a volume, a health check, tini as process 1 by exec form, the supervisor in the foreground."""
    last = last_stage()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert last["VOLUME"] in last["ENV"]
    assert "HEALTHCHECK" in last
    assert json.loads(last["HEALTHCHECK"].partition("CMD ")[2]) == ["gwctl", "status", "--healthcheck"]
    assert json.loads(last["ENTRYPOINT"]) == ["/usr/bin/tini", "--", "gwctl-container"]
    assert json.loads(last["CMD"]) == ["gwctl", "up", "--foreground"]
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_no_secret_is_in_the_image_or_in_an_environment() -> None:
    """Nothing that could be a secret is an ARG, an ENV or a compose environment: they come as files."""
    for step in instructions():
        if step["instruction"] in {"ARG", "ENV"}:
            assert not SECRET.search(step["value"]), step["value"]
    for name, one in gateways():
        assert not SECRET.search(json.dumps(one["environment"])), name
        targets = [secret if isinstance(secret, str) else secret["target"] for secret in one["secrets"]]
        assert set(targets) <= set(SECRET_KEYS), name
        assert "password" in targets, name


def test_the_build_sees_the_sources_and_nothing_else() -> None:
    """All that is copied into the build is let in by its ignore file, which begins by keeping everything out."""
    rules = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "*"
    copied = [step["value"].split() for step in instructions() if step["instruction"] == "COPY"]
    wanted = {word for words in copied if words[0] != "--from=builder" for word in words[:-1] if word[0] != "-"}
    assert {f"!{name}" for name in wanted} == {rule for rule in rules if rule[0] == "!"}
    assert all((FOLDER.parents[1] / name).exists() for name in wanted)


def test_compose_files_are_of_the_compose_spec() -> None:
    """Each compose file is valid by the specification's own schema."""
    assert COMPOSE_FILES
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE_FILES)


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: file.name)
def test_ports_are_for_this_machine_only(file: Path) -> None:
    """No port is published but on 127.0.0.1, and nobody uses the host's own network."""
    for one in services(file).values():
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))
        assert one.get("network_mode", "service:gwctl") == "service:gwctl"


@pytest.mark.parametrize(("name", "one"), gateways(), ids=[name for name, _ in gateways()])
def test_every_gateway_is_held_tight(name: str, one: dict[str, Any]) -> None:
    """Each has a network and a volume to itself, no capability, nothing to write but its volumes, and bounds."""
    assert (one["read_only"], one["cap_drop"], one["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert {"mem_limit", "pids_limit", "stop_grace_period", "tmpfs"} <= one.keys()
    assert one["restart"] == "unless-stopped"
    others = [other for other_name, other in gateways() if other_name != name]
    places = [volume.partition(":")[0] for volume in one["volumes"]] + one["networks"]
    assert not [place for other in others for place in [*other["networks"]] if place in places]
    assert [volume.partition(":")[2] for volume in one["volumes"]] == ["/var/lib/gwctl", "/var/lib/gwctl-ca"]


def test_the_bot_is_given_the_certificate_and_never_the_state() -> None:
    """The bot shares the gateway's network, waits until it is healthy, and sees the certificate read-only."""
    bot = services(FOLDER / "compose.yaml")["bot"]
    assert bot["network_mode"] == "service:gwctl"
    assert bot["volumes"] == ["ca:/run/gwctl-ca:ro"]
    assert bot["depends_on"]["gwctl"]["condition"] == "service_healthy"


def test_the_entry_point_is_plain_shell() -> None:
    """The entry point is executable and is read by a POSIX shell."""
    assert os.access(FOLDER / "entrypoint", os.X_OK)
    run("sh", "-n", FOLDER / "entrypoint")


LIST = b'{"schemaVersion": 2, "manifests": []}'
CURL = f"""#!/bin/sh
case $* in
*auth.docker.io*scope=repository:library/debian:pull*) echo '{{"token": "t0ken", "expires_in": 300}}' ;;
*"Bearer t0ken"*registry-1.docker.io/v2/library/debian/manifests/trixie-slim)
  [ "$ANSWER" != gone ] || exit 22
  while [ "$1" != -o ]; do shift; done
  if [ "$ANSWER" = list ]; then printf '%s' '{LIST.decode()}' >"$2"; else echo '<html>' >"$2"; fi ;;
*) exit 3 ;;
esac
"""


@pytest.mark.parametrize(("answer", "code"), [("list", 0), ("gone", 22), ("page", 1)])
def test_the_base_image_is_pinned_to_what_the_registry_has(tmp_path: Path, answer: str, code: int) -> None:
    """scripts/pin-base-image writes the digest of the registry's own bytes, over an older one, too; else nothing."""
    for name in ("scripts/pin-base-image", "deploy/docker/Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(FOLDER.parents[1] / name, tmp_path / name)
    dockerfile = tmp_path / "deploy" / "docker" / "Dockerfile"
    base, old = "ARG BASE_IMAGE=debian:trixie-slim", f"@sha256:{'0' * 64}"
    plain = re.sub(rf"^{re.escape(base)}.*$", base, dockerfile.read_text(), flags=re.MULTILINE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "curl").write_text(CURL)
    (tmp_path / "bin" / "curl").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "ANSWER": answer}
    for before in (plain, plain.replace(base, base + old)):
        dockerfile.write_text(before)
        done = subprocess.run([tmp_path / "scripts" / "pin-base-image"], env=environ, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        pinned = f"{base}@sha256:{hashlib.sha256(LIST).hexdigest()}"
        assert dockerfile.read_text() == (plain.replace(base, pinned) if code == 0 else before)
    assert [file.name for file in dockerfile.parent.iterdir()] == ["Dockerfile"]

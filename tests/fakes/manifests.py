"""What kubectl makes of deploy/kubernetes, and who may reach whom by it, as the cluster would say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def kubectl() -> str:
    """Return the program that the tests' own environment has, else the machine's; a machine without one fails."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.is_file() else shutil.which("kubectl")
    assert found, "there is no kubectl: run scripts/set-up --tests"
    return found


@cache
def render(folder: Path) -> tuple[Manifest, ...]:
    """Return the objects of an overlay as `kubectl kustomize` writes them; warnings are errors."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: tuple[Manifest, ...], kind: str) -> list[Manifest]:
    """Return the objects of one kind."""
    return [one for one in objects if one["kind"] == kind]


def pod_of(workload: Manifest) -> Manifest:
    """Return the pod's specification."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers_of(workload: Manifest) -> list[Manifest]:
    """Return every container of a pod, the first ones too."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def container(workload: Manifest, name: str) -> Manifest:
    """Return one container by its name."""
    return next(one for one in containers_of(workload) if one["name"] == name)


def variables(workload: Manifest, objects: tuple[Manifest, ...], name: str = "gwctl") -> dict[str, str]:
    """Return a container's environment, with what the kubelet puts in for references."""
    one = container(workload, name)
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for source in one.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    for entry in one["env"]:
        if "value" in entry:
            value = entry["value"]
            for known, text in found.items():
                value = value.replace(f"$({known})", text)
        else:
            path = entry["valueFrom"]["fieldRef"]["fieldPath"]
            labels = workload["spec"]["template"]["metadata"]["labels"]
            value = (
                workload["metadata"]["namespace"]
                if path == "metadata.namespace"
                else labels.get(path.split("'")[1], "")
            )
        found[entry["name"]] = value
    return found


def fits(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a selector of labels chooses these; an empty one chooses everything."""
    assert set(selector) <= {"matchLabels"}
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


@dataclass(frozen=True)
class Pod:
    """Who wants to reach the gateway."""

    namespace: str
    labels: Mapping[str, str]


def may_reach(policies: list[Manifest], workload: Manifest, port: str, who: Pod) -> bool:
    """Say whether ``who`` may reach the named port of a workload's pods, by the rules of NetworkPolicy."""
    labels = workload["spec"]["template"]["metadata"]["labels"]
    namespace = workload["metadata"]["namespace"]
    choosing = [
        one
        for one in policies
        if one["metadata"]["namespace"] == namespace and fits(one["spec"]["podSelector"], labels)
    ]
    assert choosing, "no policy chooses the pod: everybody may reach it"
    assert all("Ingress" in one["spec"]["policyTypes"] for one in choosing)
    return any(
        _admits(peer, who, namespace)
        for one in choosing
        for rule in one["spec"].get("ingress", [])
        if port in {each["port"] for each in rule["ports"]}
        for peer in rule["from"]
    )


def _admits(peer: Manifest, who: Pod, namespace: str) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    own_namespace = {"kubernetes.io/metadata.name": who.namespace}
    if "namespaceSelector" in peer:
        there = fits(peer["namespaceSelector"], own_namespace)
    else:
        there = who.namespace == namespace
    return there and fits(peer.get("podSelector", {}), who.labels)


VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def breaches(workload: Manifest) -> Iterator[str]:
    """Yield where a pod is not within the Pod Security Standard called restricted."""
    pod = pod_of(workload)
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for one in containers_of(workload):
        both = {**pod.get("securityContext", {}), **one.get("securityContext", {})}
        added = set(both.get("capabilities", {}).get("add", []))
        rules = {
            "privileged": not both.get("privileged"),
            "allowPrivilegeEscalation": both.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "capabilities drop": "ALL" in both.get("capabilities", {}).get("drop", []),
            "capabilities add": added <= {"NET_BIND_SERVICE"},
            "hostPort": not any(port.get("hostPort") for port in one.get("ports", [])),
            "sysctls": not both.get("sysctls"),
            "procMount": both.get("procMount", "Default") == "Default",
            "seLinuxOptions": not both.get("seLinuxOptions"),
        }
        yield from (f"{one['name']}: {rule}" for rule, kept in rules.items() if not kept)

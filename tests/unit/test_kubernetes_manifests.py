"""deploy/kubernetes as kubectl renders it: valid, restricted, one pod a username, closed to whoever is not named."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import (
    DEPLOY,
    ROOT,
    Manifest,
    Pod,
    breaches,
    container,
    containers_of,
    fits,
    may_reach,
    of_kind,
    pod_of,
    render,
    variables,
)

from gwctl.config import load
from gwctl.environment import Environment
from gwctl.setting_keys import KEYS, variable_of

schema_contents = cache(kubernetes_validate.utils.schema_contents)
OVERLAYS = ("sandbox", "paper", "bot-sidecar", "accounts")
OLDEST = "1.30"
"""The first in which a container may sleep before it is ended (components/bot-sidecar)."""
WITHOUT_SCHEMA = {"ServiceMonitor"}
"""Not Kubernetes' own: its fields are asserted below, one by one."""
METRICS_PORT = 9464
DOOR_PORT = 5443


@pytest.fixture(autouse=True)
def _schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the schemas, which the library reads anew for each object."""
    monkeypatch.setattr("kubernetes_validate.utils.schema_contents", schema_contents)


def overlay(name: str) -> tuple[Manifest, ...]:
    return render(DEPLOY / "overlays" / name)


def workloads(name: str) -> list[Manifest]:
    found = of_kind(overlay(name), "StatefulSet")
    assert found
    return found


def reset_job() -> Manifest:
    job: Manifest = yaml.safe_load((DEPLOY / "reset-lockout.yaml").read_text())
    return job


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_each_object_is_what_kubernetes_knows(folder: str, version: str) -> None:
    """Every object fits Kubernetes' own schema, without a field that it does not know, in the oldest and the newest."""
    objects = render(DEPLOY / folder)
    for one in objects:
        if one["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(one, version, strict=True)
    assert len(objects) >= 5


def test_the_validator_would_say_so() -> None:
    """A field that is misspelt is refused: the test above can fail."""
    broken = deepcopy(workloads("paper")[0])
    broken["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="redinessProbe"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_the_job_that_forgets_refusals_is_valid() -> None:
    """It fits the schema and the restricted standard, goes where the pod is, and mounts the account's own volume."""
    job = reset_job()
    kubernetes_validate.validate(job, OLDEST, strict=True)
    assert list(breaches(job)) == []
    (paper,) = workloads("paper")
    terms = pod_of(job)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert all(fits(term["labelSelector"], paper["spec"]["template"]["metadata"]["labels"]) for term in terms)
    claims = {v["persistentVolumeClaim"]["claimName"] for v in pod_of(job)["volumes"] if "persistentVolumeClaim" in v}
    assert claims == {f"state-{paper['metadata']['name']}-0"}
    of_paper = variables(paper, overlay("paper"))
    for name in ("GWCTL_HOME", "GWCTL_PROFILE"):
        assert {entry["name"]: entry["value"] for entry in container(job, "reset")["env"]}[name] == of_paper[name]
    assert container(job, "reset")["image"] == container(paper, "gwctl")["image"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_one_pod_a_username_that_is_not_replaced_before_it_is_gone(name: str) -> None:
    """A StatefulSet of one replica, an update that a pod which never gets ready does not hold up, time to log out."""
    for one in workloads(name):
        spec = one["spec"]
        assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
        assert pod_of(one)["terminationGracePeriodSeconds"] >= 45
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert labels["app.kubernetes.io/name"] == "gwctl"
        assert one["metadata"]["name"] == f"gwctl-{labels['gwctl/account']}"
    assert of_kind(overlay(name), "Deployment") == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_refusals_outlive_the_pod_and_its_statefulset(name: str) -> None:
    """GWCTL_HOME is a volume that is claimed, not one that ends with the pod, and kept when all else is deleted."""
    for one in workloads(name):
        (claim,) = one["spec"]["volumeClaimTemplates"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(one, "gwctl")["volumeMounts"]}
        assert mounts[claim["metadata"]["name"]] == variables(one, overlay(name))["GWCTL_HOME"]
        assert set(one["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
        assert pod_of(one)["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_are_files_and_only_gwctls(name: str) -> None:
    """No variable holds or names a secret, no other container mounts it, and it is where gwctl looks for it."""
    for one in workloads(name):
        account = one["spec"]["template"]["metadata"]["labels"]["gwctl/account"]
        for each in containers_of(one):
            assert all("secretRef" not in source for source in each.get("envFrom", []))
            assert all("secretKeyRef" not in entry.get("valueFrom", {}) for entry in each.get("env", []))
        known = variables(one, overlay(name))
        assert not [key for key in known if key.startswith(("GWCTL_PASSWORD", "GWCTL_TOTP"))]
        (volume,) = [v for v in pod_of(one)["volumes"] if "secret" in v]
        assert volume["secret"]["defaultMode"] & 0o007 == 0
        if name != "sandbox":
            assert volume["secret"]["secretName"] == f"gwctl-{account}"
            assert "optional" not in volume["secret"]
        for each in containers_of(one):
            mounts = [m for m in each["volumeMounts"] if m["name"] == volume["name"]]
            if each["name"] == "gwctl":
                assert [(m["mountPath"], m["readOnly"]) for m in mounts] == [(known["CREDENTIALS_DIRECTORY"], True)]
            else:
                assert mounts == []
    assert of_kind(overlay(name), "Secret") == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_setting_is_one_that_gwctl_takes(name: str, tmp_path: Path) -> None:
    """The program itself reads the pod's variables without complaint, and none of them is misspelt."""
    for one in workloads(name):
        known = {**variables(one, overlay(name)), "GWCTL_HOME": str(tmp_path)}
        allowed = {*(variable_of(key) for key in KEYS), "GWCTL_HOME", "GWCTL_PROFILE"}
        assert {key for key in known if key.startswith("GWCTL_")} <= allowed
        assert known["GWCTL_PROFILE"] == one["spec"]["template"]["metadata"]["labels"]["gwctl/account"]
        settings = load(known["GWCTL_PROFILE"], environment=Environment(known))
        assert settings["metrics_address"] == f"0.0.0.0:{METRICS_PORT}"
        if name != "sandbox":
            assert settings["username"]
        # A Service called gwctl-… must not set variables that look like ours.
        assert pod_of(one)["enableServiceLinks"] is False


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_ask_what_they_mean(name: str) -> None:
    """Start and life are the loop's, readiness is the session's; the release has minutes to come."""
    for one in workloads(name):
        gateway = container(one, "gwctl")
        ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
        assert ports == {"metrics": METRICS_PORT, **({"door": DOOR_PORT} if name in {"sandbox", "accounts"} else {})}
        asked = {key: gateway[f"{key}Probe"]["httpGet"] for key in ("startup", "liveness", "readiness")}
        assert asked == {
            "startup": {"path": "/livez", "port": "metrics"},
            "liveness": {"path": "/livez", "port": "metrics"},
            "readiness": {"path": "/readyz", "port": "metrics"},
        }
        start = gateway["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 300


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_are_restricted(name: str) -> None:
    """Each pod keeps within the Pod Security Standard `restricted`, reads its own files only, and has no token."""
    for one in workloads(name):
        assert list(breaches(one)) == []
        assert pod_of(one)["automountServiceAccountToken"] is False
        for each in containers_of(one):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert "/tmp" in {mount["mountPath"] for mount in each["volumeMounts"]}  # noqa: S108 - the pod's own
            assert set(each["resources"]) == {"requests", "limits"}
            assert "cpu" not in each["resources"]["limits"]


def test_the_restricted_rules_would_say_so() -> None:
    """A pod that runs as root with everything it was born with is told, rule by rule: the test above can fail."""
    broken = deepcopy(workloads("paper")[0])
    pod_of(broken)["securityContext"] = {"runAsUser": 0}
    pod_of(broken)["hostNetwork"] = True
    pod_of(broken)["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    container(broken, "gwctl")["securityContext"] = {}
    assert set(breaches(broken)) == {
        *("hostNetwork", "volume host", "gwctl: allowPrivilegeEscalation", "gwctl: runAsNonRoot", "gwctl: runAsUser"),
        *("gwctl: seccompProfile", "gwctl: capabilities drop"),
    }


PROMETHEUS = Pod("monitoring", {"app": "prometheus"})
STRANGER = Pod("gwctl", {"app": "stranger"})


def bot(account: str, namespace: str = "gwctl") -> Pod:
    return Pod(namespace, {"gwctl/bot": "true", "gwctl/account": account})


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_who_is_named_gets_in(name: str) -> None:
    """The door is for the account's own bots, and for nobody without their component; metrics for monitoring.

    Nobody reaches the gateway's own port, which asks for no password.
    """
    policies = of_kind(overlay(name), "NetworkPolicy")
    for one in workloads(name):
        account = one["spec"]["template"]["metadata"]["labels"]["gwctl/account"]
        opened = name in {"sandbox", "accounts"}
        assert may_reach(policies, one, "door", bot(account)) is opened
        for anybody in (bot(account), STRANGER, PROMETHEUS, Pod("gwctl", {})):
            assert not may_reach(policies, one, "gateway", anybody)
            assert not may_reach(policies, one, str(KEYS["port"].default), anybody)
        for other in (bot("another"), bot(account, "elsewhere"), STRANGER, PROMETHEUS, Pod("gwctl", {})):
            assert not may_reach(policies, one, "door", other)
        assert may_reach(policies, one, "metrics", PROMETHEUS)
        for other in (bot(account), STRANGER, Pod("default", {"app": "prometheus"})):
            assert not may_reach(policies, one, "metrics", other)


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_names_and_ibkr_can_be_reached(name: str) -> None:
    """Out go DNS and HTTPS to the internet, nothing to the cluster's own networks; the sandbox needs nothing."""
    for policy in of_kind(overlay(name), "NetworkPolicy"):
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        rules = policy["spec"]["egress"]
        if name == "sandbox":
            assert rules == []
            continue
        dns, https = rules
        assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
        assert {(port["port"], port["protocol"]) for port in https["ports"]} == {(443, "TCP")}
        excepted = {network for peer in https["to"] for network in peer["ipBlock"]["except"]}
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7"} <= excepted


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_budgets_and_monitor_choose_the_pods_they_are_for(name: str) -> None:
    """Each Service and budget chooses its account's pod and no other, by ports the pod has; a drain has to ask."""
    objects = overlay(name)
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in workloads(name)}
    for kind, where in (("Service", ("spec", "selector")), ("PodDisruptionBudget", ("spec", "selector"))):
        found = of_kind(objects, kind)
        assert {one["metadata"]["name"] for one in found} == set(pods)
        for one in found:
            selector: Any = one
            for key in where:
                selector = selector[key]
            selector = selector.get("matchLabels", selector)
            assert [pod for pod, labels in pods.items() if selector.items() <= labels.items()] == [
                one["metadata"]["name"]
            ]
    for one in of_kind(objects, "PodDisruptionBudget"):
        assert one["spec"]["maxUnavailable"] == 0
        assert one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for one in workloads(name):
        (service,) = [s for s in of_kind(objects, "Service") if s["metadata"]["name"] == one["spec"]["serviceName"]]
        ports = {port["name"]: (port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
        opened = {"door": (DOOR_PORT, "door")} if name in {"sandbox", "accounts"} else {}
        assert ports == {"metrics": (METRICS_PORT, "metrics"), **opened}


def test_bots_find_the_services_names_in_the_certificate(tmp_path: Path) -> None:
    """What the component asks the certificate to carry are the names by which the cluster's DNS knows the Service."""
    for name in ("sandbox", "accounts"):
        for one in workloads(name):
            known = {**variables(one, overlay(name)), "GWCTL_HOME": str(tmp_path)}
            service, namespace = one["spec"]["serviceName"], one["metadata"]["namespace"]
            carried = load("default", environment=Environment(known))["certificate_names"]
            assert carried == (
                service,
                f"{service}.{namespace}",
                f"{service}.{namespace}.svc",
                f"{service}.{namespace}.svc.cluster.local",
            )
            # The kubelet puts in only what stands before.
            order = [entry["name"] for entry in container(one, "gwctl")["env"]]
            assert order.index("GWCTL_CERTIFICATE_NAMES") > max(order.index("ACCOUNT"), order.index("NAMESPACE"))


def test_one_monitor_scrapes_every_account_once() -> None:
    """The ServiceMonitor, which has no schema here, names a port of the Services it chooses, and gwctl's own path."""
    objects = overlay("accounts")
    (monitor,) = of_kind(objects, "ServiceMonitor")
    assert (monitor["apiVersion"], monitor["metadata"]["namespace"]) == ("monitoring.coreos.com/v1", "gwctl")
    assert set(monitor["spec"]) == {"selector", "jobLabel", "targetLabels", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    services = of_kind(objects, "Service")
    assert all(fits(monitor["spec"]["selector"], one["metadata"]["labels"]) for one in services)
    assert all(endpoint["port"] in {port["name"] for port in one["spec"]["ports"]} for one in services)
    assert {one["metadata"]["labels"][monitor["spec"]["jobLabel"]] for one in services} == {"gwctl"}
    assert all(set(monitor["spec"]["targetLabels"]) <= set(one["metadata"]["labels"]) for one in services)


def test_a_bot_beside_gwctl_gets_the_certificate_and_no_key() -> None:
    """The bot's container sees neither gwctl's volume nor its secrets, is another user, and ends first."""
    (one,) = workloads("bot-sidecar")
    beside, gateway, trust = container(one, "bot"), container(one, "gwctl"), container(one, "trust")
    assert {mount["name"] for mount in beside["volumeMounts"]} == {"trust", "bot-tmp"}
    assert all(mount["readOnly"] for mount in beside["volumeMounts"] if mount["name"] == "trust")
    assert beside["securityContext"]["runAsUser"] != pod_of(one)["securityContext"]["runAsUser"]
    assert trust["image"] == gateway["image"]
    slept_s = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert slept_s + 30 <= pod_of(one)["terminationGracePeriodSeconds"]
    known = variables(one, overlay("bot-sidecar"), "bot")
    assert known["GWCTL_BASE_URL"] == f"https://localhost:{KEYS['port'].default}/v1/api"
    assert "GWCTL_ALLOW_IPS" not in variables(one, overlay("bot-sidecar"))


def test_the_first_container_hands_over_what_a_client_verifies_with(tmp_path: Path) -> None:
    """Its command, run as it stands on an empty volume, leaves two certificates that a bot may read, and no key."""
    trust = container(workloads("bot-sidecar")[0], "trust")
    (tmp_path / "trust").mkdir()
    program, option, script = trust["args"]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    subprocess.run(
        [program, option, script.replace("/trust", str(tmp_path / "trust"))],
        env={"PATH": path, "GWCTL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        check=True,
        timeout=60,
    )
    left = {file.name: file for file in (tmp_path / "trust").iterdir()}
    assert set(left) == {"ca.pem", "bundle.pem"}
    assert left["ca.pem"].read_bytes() == (tmp_path / "home" / "ca" / "ca.pem").read_bytes()
    for file in left.values():
        assert file.stat().st_mode & 0o004
        assert b"PRIVATE KEY" not in file.read_bytes()


# A list of accounts.

SCRIPT = ROOT / "scripts" / "kubernetes-accounts"


def generate(list_file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, str(list_file)], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_list_gives_accounts_that_share_nothing(tmp_path: Path) -> None:
    """Of seven lines come seven of everything that an account has, and no selector chooses what is another's."""
    lines = [f"acct-{number} user{number}  {'paper' if number % 2 else 'live'}" for number in range(7)]
    (tmp_path / "accounts.txt").write_text("# account username mode\n\n" + "\n".join(lines))
    assert generate(tmp_path / "accounts.txt").returncode == 0
    objects = render(tmp_path)
    found = of_kind(objects, "StatefulSet")
    assert sorted(one["metadata"]["name"] for one in found) == sorted(f"gwctl-acct-{number}" for number in range(7))
    settings = [variables(one, objects) for one in found]
    secrets = {v["secret"]["secretName"] for one in found for v in pod_of(one)["volumes"] if "secret" in v}
    maps = {container(one, "gwctl")["envFrom"][0]["configMapRef"]["name"] for one in found}
    claims = {f"{c['metadata']['name']}-{one['metadata']['name']}-0" for one in found for c in
              one["spec"]["volumeClaimTemplates"]}  # fmt: skip
    users = {(each["GWCTL_USERNAME"], each["GWCTL_MODE"]) for each in settings}
    assert {len(each) for each in (secrets, maps, claims, users)} == {7}
    assert ("user3", "paper") in users
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in found]
    for one in objects:
        if one["kind"] in {"StatefulSet", "PodDisruptionBudget"}:
            assert sum(fits(one["spec"]["selector"], each) for each in labels) == 1
        elif one["kind"] == "NetworkPolicy":
            assert sum(fits(one["spec"]["podSelector"], each) for each in labels) == 1
    policies = of_kind(objects, "NetworkPolicy")
    assert may_reach(policies, found[0], "door", bot(labels[0]["gwctl/account"]))
    assert not may_reach(policies, found[0], "door", bot(labels[1]["gwctl/account"]))


def test_the_list_in_the_repository_is_what_the_script_makes_of_it(tmp_path: Path) -> None:
    """The example's overlays are those of its list; a line less leaves its folder, and says so."""
    example = DEPLOY / "overlays" / "accounts"
    before = {file: file.read_text() for file in example.rglob("*.yaml")}
    assert generate(example / "accounts.txt").returncode == 0
    assert {file: file.read_text() for file in example.rglob("*.yaml")} == before

    (tmp_path / "list").write_text("a user1 live\nb user2 live\n")
    generate(tmp_path / "list")
    (tmp_path / "list").write_text("a user1 live\n")
    done = generate(tmp_path / "list")
    assert "b is no longer in the list: kubectl delete -k" in done.stderr
    assert [one["metadata"]["name"] for one in of_kind(render(tmp_path), "StatefulSet")] == ["gwctl-a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no account"),
        ("a user", "line 1: write ACCOUNT USERNAME MODE"),
        ("a user live\nA other live", "line 2: account 'A'"),
        ("a user live\nb User paper", "line 2: username User is listed twice"),
        ("a user live\na other live", "line 2: account a is listed twice"),
        ("a user demo", "line 1: mode 'demo'"),
        ("a 'x:y' live", "not a valid username"),
        ("../a user live", "line 1: account '../a'"),
        (f"{'a' * 41} user live", "line 1: account"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The line is named and nothing is written; one username twice would be two sessions that throw each other out."""
    (tmp_path / "list").write_text(text)
    done = generate(tmp_path / "list")
    assert done.returncode == 1
    assert said in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["list"]


def test_what_somebody_else_wrote_is_left_alone(tmp_path: Path) -> None:
    """A kustomization.yaml that is not the script's own is not overwritten."""
    (tmp_path / "list").write_text("a user live")
    (tmp_path / "kustomization.yaml").write_text("mine")
    assert "was not written by this script" in generate(tmp_path / "list").stderr
    assert (tmp_path / "kustomization.yaml").read_text() == "mine"

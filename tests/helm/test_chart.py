"""The chart, under Helm 3 and Helm 4: what it renders is valid, restricted, consistent, and the gateway accepts it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import gateway
from gateway.policy import parse_policies
from gateway.settings import parse_settings
from tests.support.helm import WHEELS, kubernetes_validate, render, run_helm

CHART = Path(__file__).parents[2] / "helm" / "smime-gateway"
VALUES = {"defaults": None, **{file.stem: file for file in sorted((Path(__file__).parent / "values").glob("*.yaml"))}}
OLDEST, NEWEST = "1.25", "1.37"
"""The minors of Kubernetes whose schemas the manifests are checked against; Chart.yaml names the oldest."""

Manifests = dict[tuple[str, str], dict[str, Any]]
"""By kind and name."""

both = pytest.mark.parametrize("major", list(WHEELS), ids=[f"helm{major}" for major in WHEELS])
all_values = pytest.mark.parametrize("name", list(VALUES))


def options(name: str) -> list[str]:
    """Return the options that name a file of values."""
    return ["--values", str(VALUES[name])] if VALUES[name] else []


def rendered(name: str, *arguments: str, major: str = "4") -> Manifests:
    """Return the manifests for a file of values."""
    documents = render(major, CHART, *options(name), *arguments)
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def only(manifests: Manifests, kind: str, suffix: str = "") -> dict[str, Any]:
    """Return the one manifest of this kind whose name ends so."""
    [found] = [document for (one, name), document in manifests.items() if one == kind and name.endswith(suffix)]
    return found


def pod_of(manifests: Manifests) -> dict[str, Any]:
    """Return the pod's template."""
    template: dict[str, Any] = only(manifests, "StatefulSet")["spec"]["template"]
    return template


# ---------------------------------------------------------------- is it valid


@both
@all_values
def test_lint(major: str, name: str) -> None:
    """``helm lint --strict`` finds nothing."""
    done = run_helm(major, "lint", "--strict", str(CHART), *options(name))

    assert done.returncode == 0, done.stdout + done.stderr


@all_values
def test_both_helms_render_the_same(name: str) -> None:
    """The manifests are the same documents."""
    assert rendered(name, major="3") == rendered(name, major="4")


@all_values
@pytest.mark.parametrize("minor", [OLDEST, NEWEST])
def test_kubernetes_schemas(name: str, minor: str, tmp_path: Path) -> None:
    """Every manifest is valid for the oldest and the newest Kubernetes, without an unknown key."""
    file = tmp_path / "manifests.yaml"
    # JSON is YAML of every version, so that "yes" stays a text.
    documents = rendered(name, "--kube-version", minor).values()
    file.write_text("".join(f"---\n{json.dumps(document)}\n" for document in documents))

    done = subprocess.run(
        [kubernetes_validate(), "-k", minor, "--strict", "--quiet", file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@both
def test_older_kubernetes_is_refused(major: str) -> None:
    """Chart.yaml names the oldest Kubernetes that is tested."""
    done = run_helm(major, "template", "rel", str(CHART), "--kube-version", "1.24")

    assert done.returncode != 0
    assert "1.25" in done.stderr


def test_versions_are_those_of_the_program() -> None:
    """The chart installs the image of the version beside it."""
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == gateway.__version__
    assert chart["version"] == gateway.__version__


# ---------------------------------------------------------------- what is refused

REFUSED = [
    pytest.param(["--set", "replicaCount=2"], "replicaCount", id="two pods on one state folder"),
    pytest.param(["--set", "replicas=1"], "replicas", id="unknown key"),
    pytest.param(["--set", "service.typo=1"], "typo", id="unknown key below"),
    pytest.param(["--set", "image.pullPolicy=Sometimes"], "pullPolicy", id="bad word"),
    pytest.param(["--set", "image.digest=sha256:abc"], "digest", id="bad digest"),
    pytest.param(["--set", "settings.identity.hostname=a"], "internal", id="settings that are not whole"),
    pytest.param(["--set", "policies.main=x"], "policies", id="policy file that is not yaml"),
    pytest.param(["--set", r"files.gateway\.yaml=x"], "gateway.yaml", id="file in place of the settings"),
    pytest.param(["--set", "folders.config[0].secret=x"], "folders", id="folder in place of the settings"),
    pytest.param(["--set", "folders.keys[0].host=/etc"], "folders", id="folder from the host"),
    pytest.param(["--set", "persistence.accessMode=ReadWriteMany"], "accessMode", id="shared volume"),
    pytest.param(["--set", "service.ports.user=25"], "no such listener", id="port of no listener"),
    pytest.param(["--set", "terminationGracePeriodSeconds=30"], "45", id="less than the drain"),
    pytest.param(["--set", "persistence.enabled=false,persistence.existingClaim=x"], "no use", id="claim without use"),
]
REFUSED_SETTINGS = [
    pytest.param("settings.listeners.border.listen=0.0.0.0:25", "above port 1023", id="privileged port"),
    pytest.param("settings.metrics.listen=127.0.0.1:9090", "kubelet", id="metrics on loopback"),
    pytest.param("settings.policies=/somewhere", "settings.policies", id="policies elsewhere"),
    pytest.param("settings.state=state", "absolute", id="relative state folder"),
    pytest.param("settings.drain=30", "drain", id="duration without unit"),
    pytest.param("settings.listeners.Border.listen=0.0.0.0:2525", "listeners", id="listener that names no port"),
]


@both
@pytest.mark.parametrize(("arguments", "word"), REFUSED)
def test_refused_values(major: str, arguments: list[str], word: str) -> None:
    """A value that cannot work is refused before anything is installed, and the message names it."""
    done = run_helm(major, "template", "rel", str(CHART), *arguments)

    assert done.returncode != 0
    assert word in done.stderr


@both
@pytest.mark.parametrize(("setting", "word"), REFUSED_SETTINGS)
def test_refused_settings(major: str, setting: str, word: str) -> None:
    """So are settings that cannot work in a pod of this chart."""
    done = run_helm(major, "template", "rel", str(CHART), *options("border"), "--set-string", setting)

    assert done.returncode != 0
    assert word in done.stderr


# ---------------------------------------------------------------- what the gateway reads


@all_values
def test_the_gateway_accepts_settings_and_policies(name: str) -> None:
    """The rendered gateway.yaml and the policies are read by the code that will read them, and fit the pod."""
    manifests = rendered(name)
    text = only(manifests, "ConfigMap", "gateway" if name != "full" else "gw")["data"]["gateway.yaml"]
    documents = only(manifests, "ConfigMap", "-policies")["data"]

    settings = parse_settings(text, "/etc/smime-gateway/config/gateway.yaml")
    policy = parse_policies(list(documents.items()))

    assert policy.rules
    [container] = pod_of(manifests)["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert settings.metrics is not None
    ports = {name: listener.listen.port for name, listener in settings.listeners.items()}
    ports["metrics"] = settings.metrics.listen.port
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports
    assert mounts[str(settings.state)] == "state"
    assert mounts[str(settings.policies)] == "policies"
    for folder in [*settings.keys, *settings.certificates]:
        assert str(folder.folder) in mounts
    assert pod_of(manifests)["spec"]["terminationGracePeriodSeconds"] >= settings.drain + 15


def test_a_text_is_written_as_it_stands() -> None:
    """A policy that is given as a text keeps its comments; a file beside the settings is there."""
    manifests = rendered("border")

    assert "# kept as it is written" in only(manifests, "ConfigMap", "-policies")["data"]["10-inbound.yaml"]
    assert "info@acme.example,alice@acme.example" in only(manifests, "ConfigMap", "-gateway")["data"]["aliases.csv"]


def test_nothing_of_the_example_is_mixed_in() -> None:
    """Given settings and policies stand alone; only what the chart relies on is added."""
    manifests = rendered("border")
    settings = YAML(typ="safe").load(only(manifests, "ConfigMap", "-gateway")["data"]["gateway.yaml"])

    assert list(settings["listeners"]) == ["border"]
    assert list(settings["upstreams"]) == ["mailboxes"]
    assert "reports" not in settings
    assert list(only(manifests, "ConfigMap", "-policies")["data"]) == ["10-inbound.yaml"]


# ---------------------------------------------------------------- what Kubernetes sees


@all_values
def test_the_pod_is_restricted(name: str) -> None:
    """The pod meets the restricted Pod Security Standard, and more: a read-only root, no token."""
    pod = pod_of(rendered(name))["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {"configMap", "projected", "emptyDir", "persistentVolumeClaim"}
    assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container["ports"])


@all_values
def test_selectors_and_ports_fit(name: str) -> None:
    """Whatever selects pods selects ours, and every port that is named is one of the pod's."""
    manifests = rendered(name)
    labels = pod_of(manifests)["metadata"]["labels"].items()
    [container] = pod_of(manifests)["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    services = [document for (kind, _), document in manifests.items() if kind == "Service"]

    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert only(manifests, "StatefulSet")["spec"]["selector"]["matchLabels"].items() <= labels
    assert only(manifests, "StatefulSet")["spec"]["serviceName"] in {one["metadata"]["name"] for one in services}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "metrics"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claims = only(manifests, "StatefulSet")["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod_of(manifests)["spec"]["volumes"]}
    assert mounted == volumes | {claim["metadata"]["name"] for claim in claims}


def test_everything_that_can_be_switched_on() -> None:
    """Monitor, budget, network policy and service account select the same pods and ports."""
    manifests = rendered("full")
    labels = pod_of(manifests)["metadata"]["labels"].items()
    metrics = only(manifests, "Service", "-metrics")

    monitor = only(manifests, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()
    assert monitor["endpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]
    others = [one for (_, name), one in manifests.items() if one["kind"] == "Service" and not name.endswith("-metrics")]
    assert not any(monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items() for one in others)
    budget = only(manifests, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels
    network = only(manifests, "NetworkPolicy")["spec"]
    assert network["podSelector"]["matchLabels"].items() <= labels
    assert [port["port"] for port in network["ingress"][0]["ports"]] == ["border", "users"]
    assert sorted(port["port"] for port in network["egress"][1]["ports"]) == [587, 10026]
    assert pod_of(manifests)["spec"]["serviceAccountName"] == only(manifests, "ServiceAccount")["metadata"]["name"]
    assert pod_of(manifests)["metadata"]["labels"]["team"] == "mail"


def test_a_change_of_policy_is_a_new_pod() -> None:
    """The pod's template changes with settings, policies and files, and not without them."""

    def checksum(*arguments: str) -> str:
        value: str = pod_of(rendered("border", *arguments))["metadata"]["annotations"]["checksum/config"]
        return value

    assert checksum() == checksum("--set", "podLabels.x=y")
    changes = [r"policies.10-inbound\.yaml=x", "settings.workers=3", r"files.aliases\.csv=x"]
    assert len({checksum(), *(checksum("--set", change) for change in changes)}) == 4


def test_labels_of_the_chart_win() -> None:
    """A label of the admin's cannot take the pod away from its selector."""
    manifests = rendered("defaults", "--set", r"podLabels.app\.kubernetes\.io/name=x")

    assert pod_of(manifests)["metadata"]["labels"]["app.kubernetes.io/name"] == "smime-gateway"


def test_no_secret_is_rendered() -> None:
    """Keys come from Secrets that are named, never through values."""
    for name in VALUES:
        assert not any(kind == "Secret" for kind, _ in rendered(name))

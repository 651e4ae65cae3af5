"""What Helm makes of the chart. Without `helm` on the PATH these are left out: it comes from the Go
module proxy by `go install helm.sh/helm/v4/cmd/helm@v4.3.1`.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from deploy.stack import DEPLOY, VARIABLES, operator_paths, settings, version
from penstock.core.platform import ROLES
from penstock.core.settings import Settings

if shutil.which("helm") is None:
    pytest.skip("no helm on the PATH: the chart is read, not rendered", allow_module_level=True)

CHART = DEPLOY / "helm/penstock"
URLS = {
    "PENSTOCK_LOG": "kafka://host:9092",
    "PENSTOCK_WAREHOUSE": "clickhouse://user:word@host:8123/penstock",
    "PENSTOCK_STATE": "redis://host:6379/0",
    "PENSTOCK_DATABASE": "",
    "PENSTOCK_OBJECTS": "",
}
GIVEN = tuple(
    f"urls.{name.removeprefix('PENSTOCK_').lower()}={url}" for name, url in URLS.items() if url
)


def helm(command: str, *sets: str) -> subprocess.CompletedProcess[str]:
    named = ["penstock"] if command == "template" else []
    options = [option for value in sets for option in ("--set", value)]
    return subprocess.run(
        ["helm", command, *named, CHART, *options], capture_output=True, text=True, check=False
    )


def rendered(*sets: str) -> list[dict[str, Any]]:
    done = helm("template", *sets)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return rendered(*GIVEN, "ingress.enabled=true", "serviceMonitor.enabled=true")


def of(documents: Sequence[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    """By their names."""
    return {d["metadata"]["name"]: d for d in documents if d["kind"] in kinds}


def workloads(documents: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return of(documents, "StatefulSet", "Deployment")


def pods(documents: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = workloads(documents) | of(documents, "Job")
    return {name: document["spec"]["template"]["spec"] for name, document in found.items()}


def test_helm_finds_nothing_to_say_against_it() -> None:
    done = helm("lint", *GIVEN)

    assert done.returncode == 0, done.stdout


def test_every_role_runs(documents: list[dict[str, Any]]) -> None:
    expected = {f"penstock-{role}": ["serve", "--role", role] for role in ROLES}
    found = {
        name: pod["containers"][0]["args"]
        for name, pod in pods(documents).items()
        if name != "penstock-migrate"
    }

    assert found == expected
    assert set(of(documents, "StatefulSet")) == {"penstock-edge"}


def test_pods_are_of_this_version_and_may_next_to_nothing(documents: list[dict[str, Any]]) -> None:
    for pod in pods(documents).values():
        [container] = pod["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}

        assert container["image"] == f"penstock:{version()}"
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod["automountServiceAccountToken"]
        assert mounted == {"/var/lib/penstock", "/tmp"}


def test_no_variable_of_kubernetes_looks_like_a_setting(documents: list[dict[str, Any]]) -> None:
    assert all(pod["enableServiceLinks"] is False for pod in pods(documents).values())


def test_settings_are_known_and_an_edge_sees_no_store(documents: list[dict[str, Any]]) -> None:
    for name, pod in pods(documents).items():
        [container] = pod["containers"]
        variables = {entry["name"] for entry in container["env"]}

        assert variables <= VARIABLES
        assert variables & set(URLS) == ({"PENSTOCK_LOG"} if name == "penstock-edge" else set(URLS))


def test_secrets_hold_what_pods_ask_for(documents: list[dict[str, Any]]) -> None:
    secrets = of(documents, "Secret")
    for pod in pods(documents).values():
        for entry in pod["containers"][0]["env"]:
            if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["key"] in secrets[reference["name"]]["stringData"]
    for secret in secrets.values():
        assert secret["stringData"] == URLS
        settings(secret["stringData"])


def test_probes_ask_what_is_answered(documents: list[dict[str, Any]]) -> None:
    asked = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for workload in workloads(documents).values():
        [container] = workload["spec"]["template"]["spec"]["containers"]

        assert container["ports"] == [{"name": "http", "containerPort": Settings().port}]
        for probe, path in asked.items():
            assert container[probe]["httpGet"] == {"path": path, "port": "http"}
            assert path in operator_paths()


def test_pods_have_the_time_to_drain(documents: list[dict[str, Any]]) -> None:
    for workload in workloads(documents).values():
        pod = workload["spec"]["template"]["spec"]
        waits = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])

        assert pod["terminationGracePeriodSeconds"] >= waits + 2 * Settings().drain_seconds_max


def test_an_edge_s_volume_outlives_it(documents: list[dict[str, Any]]) -> None:
    spec = of(documents, "StatefulSet")["penstock-edge"]["spec"]
    policy = spec["persistentVolumeClaimRetentionPolicy"]

    assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
    assert spec["serviceName"] in of(documents, "Service")


def test_every_role_scales_and_is_evicted_one_by_one(documents: list[dict[str, Any]]) -> None:
    scaled = workloads(documents)
    autoscalers = of(documents, "HorizontalPodAutoscaler")
    budgets = of(documents, "PodDisruptionBudget")

    assert set(autoscalers) == set(budgets) == set(scaled)
    for name, autoscaler in autoscalers.items():
        target = autoscaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (scaled[name]["kind"], name)
        assert "replicas" not in scaled[name]["spec"], "or an upgrade would undo the autoscaler"
        assert autoscaler["spec"]["minReplicas"] > budgets[name]["spec"]["maxUnavailable"] == 1
        assert budgets[name]["spec"]["selector"] == scaled[name]["spec"]["selector"]


def test_work_scales_by_lag_within_the_partitions(documents: list[dict[str, Any]]) -> None:
    spec = of(documents, "HorizontalPodAutoscaler")["penstock-work"]["spec"]
    [metric] = spec["metrics"]

    assert metric["pods"]["metric"]["name"] == "penstock_projection_lag_seconds"
    assert spec["maxReplicas"] <= Settings().kafka_partitions


def test_an_edge_is_not_taken_away_by_itself(documents: list[dict[str, Any]]) -> None:
    spec = of(documents, "HorizontalPodAutoscaler")["penstock-edge"]["spec"]

    assert spec["behavior"]["scaleDown"] == {"selectPolicy": "Disabled"}


def test_without_autoscaling_the_numbers_are_the_values_own() -> None:
    off = [f"{role}.autoscaling.enabled=false" for role in ROLES]
    found = rendered(*GIVEN, *off, "work.replicas=5")

    assert not of(found, "HorizontalPodAutoscaler")
    assert workloads(found)["penstock-work"]["spec"]["replicas"] == 5


def test_the_migration_runs_first(documents: list[dict[str, Any]]) -> None:
    job = of(documents, "Job")["penstock-migrate"]
    secret = of(documents, "Secret")["penstock-migrate"]
    weights = []
    for document in (secret, job):
        notes = document["metadata"]["annotations"]
        assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
        weights.append(int(notes["helm.sh/hook-weight"]))

    assert weights == sorted(weights)
    assert weights[0] < weights[1], "its Secret has to be there before it"
    assert pods(documents)["penstock-migrate"]["containers"][0]["args"] == ["migrate"]


def test_services_lead_to_the_pods(documents: list[dict[str, Any]]) -> None:
    for name, workload in workloads(documents).items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        selector = of(documents, "Service")[name]["spec"]["selector"]

        assert selector == workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()


def test_the_ingress_leads_to_services(documents: list[dict[str, Any]]) -> None:
    [rule] = of(documents, "Ingress")["penstock"]["spec"]["rules"]
    backends = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}

    assert backends["/user_tags"] == "penstock-edge"
    assert set(backends.values()) <= set(of(documents, "Service"))


def test_metrics_come_with_their_role(documents: list[dict[str, Any]]) -> None:
    [endpoint] = of(documents, "ServiceMonitor")["penstock"]["spec"]["endpoints"]
    targets = {relabelling["targetLabel"] for relabelling in endpoint["relabelings"]}

    assert endpoint["path"] in operator_paths()
    assert targets == {"role", "job"}


def test_a_secret_of_one_s_own_is_used() -> None:
    found = rendered("existingSecret=mine")
    asked = {
        entry["valueFrom"]["secretKeyRef"]["name"]
        for pod in pods(found).values()
        for entry in pod["containers"][0]["env"]
        if "valueFrom" in entry
    }

    assert not of(found, "Secret")
    assert asked == {"mine"}


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        ((), "urls.log is needed, or existingSecret"),
        ((*GIVEN, "urls.log=sqlite:///data/log.db"), "/urls/log"),
        ((*GIVEN, "edge.replica=3"), "additional properties 'replica' not allowed"),
        ((*GIVEN, "settings.PORT=1"), "PORT"),
        ((*GIVEN, "image.tag=latest"), "/image/tag"),
    ],
)
def test_what_cannot_work_is_refused(sets: tuple[str, ...], complaint: str) -> None:
    done = helm("template", *sets)

    assert done.returncode != 0
    assert re.search(re.escape(complaint), done.stderr), done.stderr

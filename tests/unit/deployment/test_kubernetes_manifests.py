"""The manifests of deploy/kubernetes are valid, and agree with the code."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from patience import patient
from streamworkers.cli.main import cli
from streamworkers.config import Settings
from streamworkers.engine.redis.keys import GROUP, Keys
from streamworkers.engine.registry import installed_jobs

ROOT = Path(__file__).parent.parent.parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
# The oldest and the newest supported version.
VERSIONS = ("1.30", "1.37")
CUSTOM = json.loads((Path(__file__).parent / "schemas" / "custom_resources.json").read_text(encoding="utf-8"))
FOLDERS = [BASE, *(KUBERNETES / "overlays" / name for name in ("keda", "hpa", "telegram", "api"))]


def _resources() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for resource in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield path, resource


RESOURCES = list(_resources())
IDS = [f"{resource['kind']}-{resource['metadata']['name']}" for _, resource in RESOURCES]
EACH = pytest.mark.parametrize("resource", [resource for _, resource in RESOURCES], ids=IDS)
PODS = {
    resource["metadata"]["name"]: resource["spec"]["template"]["spec"]
    for _, resource in RESOURCES
    if resource["kind"] in ("Deployment", "Job")
}
DEPLOYMENTS = ["streamworkers-scheduler", "streamworkers-worker", "streamworkers-telegram"]


def _of_kind(kind: str) -> list[dict[str, Any]]:
    return [resource for _, resource in RESOURCES if resource["kind"] == kind]


def _container(name: str) -> dict[str, Any]:
    [container] = PODS[name]["containers"]
    found: dict[str, Any] = container
    return found


@EACH
def test_each_is_valid_by_the_schema_of_its_kind(resource: dict[str, Any]) -> None:
    if resource["kind"] in CUSTOM:
        jsonschema.validate(resource, CUSTOM[resource["kind"]])
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)


def test_a_field_that_does_not_exist_is_found() -> None:
    for kind in ("Deployment", "ScaledObject", "ServiceMonitor"):
        resource = {**_of_kind(kind)[0], "sepc": {}}
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            test_each_is_valid_by_the_schema_of_its_kind(resource)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_manifest_is_named_by_its_kustomization(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert {name for name in kustomization["resources"] if name != "../../base"} == files
    assert kustomization["namespace"] == "streamworkers"


def test_the_image_has_the_version_of_the_package() -> None:
    version = re.search(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert version is not None
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
    assert kustomization["images"] == [{"name": "streamworkers", "newTag": version[1]}]
    assert {_container(name)["image"] for name in PODS} == {"streamworkers"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomize_builds_it(folder: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    answer = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=patient(60), check=False
    )
    assert answer.returncode == 0, answer.stderr
    built = list(yaml.safe_load_all(answer.stdout))
    kinds = [resource["kind"] for resource in built]
    assert kinds.count("Deployment") == 2 + (folder.name in ("telegram", "api"))
    assert "Secret" not in kinds
    [worker] = [
        resource
        for resource in built
        if resource["metadata"]["name"] == "streamworkers-worker" and resource["kind"] == "Deployment"
    ]
    assert ("replicas" in worker["spec"]) == (folder.name not in ("keda", "hpa"))
    for scaler in (each for each in built if each["kind"] == "HorizontalPodAutoscaler"):
        target = ("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        [scaled] = [each for each in built if (each["kind"], each["metadata"]["name"]) == target]
        assert "replicas" not in scaled["spec"]
    for resource in built:
        test_each_is_valid_by_the_schema_of_its_kind(resource)


@pytest.mark.parametrize("name", PODS)
def test_every_command_and_option_exists(name: str) -> None:
    command, *words = _container(name)["args"]
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    found.make_context(command, words, help_option_names=["-h", "--help"])  # click keeps the option


def test_every_setting_exists() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in KUBERNETES.rglob("*.yaml"))
    names = set(re.findall(r"\bSTREAMWORKERS_\w+", text))
    assert names
    assert {name.removeprefix("STREAMWORKERS_").lower() for name in names} <= set(Settings.model_fields)


def test_no_secret_has_a_value() -> None:
    assert len(_of_kind("Secret")) == 4
    assert {value for secret in _of_kind("Secret") for value in secret["stringData"].values()} == {""}


@pytest.mark.parametrize("name", PODS)
def test_the_sources_of_the_environment_of_a_pod_exist(name: str) -> None:
    known = {
        resource["metadata"]["name"]: resource
        for _, resource in RESOURCES
        if resource["kind"] in ("ConfigMap", "Secret")
    }
    container = _container(name)
    for source in container["envFrom"]:
        [reference] = source.values()
        assert reference["name"] in known
    for variable in container.get("env", []):
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["key"] in known[reference["name"]]["stringData"]


def test_only_the_migration_job_logs_in_as_the_owner() -> None:
    assert [name for name in PODS if "streamworkers-owner" in json.dumps(PODS[name])] == ["streamworkers-migrate"]
    assert "streamworkers-app" not in json.dumps(PODS["streamworkers-migrate"])


@pytest.mark.parametrize("name", PODS)
def test_pods_have_few_rights(name: str) -> None:
    pod, container = PODS[name], _container(name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", PODS)
def test_the_user_is_that_of_the_image(name: str) -> None:
    context = PODS[name]["securityContext"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes_ask_the_port_that_is_served(name: str) -> None:
    container = _container(name)
    args, [port] = container["args"], container["ports"]
    assert args[args.index("--metrics-port") + 1] == str(port["containerPort"])
    paths = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {get["port"] for get in paths.values()} == {port["name"]}
    assert {probe: get["path"] for probe, get in paths.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }


def test_the_probes_of_the_api_ask_the_port_of_its_requests() -> None:
    container = _container("streamworkers-api")
    ports, args = {port["name"]: str(port["containerPort"]) for port in container["ports"]}, container["args"]
    assert ports == {"http": args[args.index("--port") + 1], "metrics": args[args.index("--metrics-port") + 1]}
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}


@pytest.mark.parametrize("name", [*DEPLOYMENTS, "streamworkers-api"])
def test_a_pod_is_killed_only_after_its_grace(name: str) -> None:
    grace = float(_of_kind("ConfigMap")[0]["data"]["STREAMWORKERS_GRACE_SECONDS"])
    program, pause = _container(name)["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert PODS[name]["terminationGracePeriodSeconds"] >= float(pause) + grace + 10


def test_selectors_find_their_pods() -> None:
    labels = [resource["spec"]["template"]["metadata"]["labels"] for resource in _of_kind("Deployment")]
    selectors = [
        resource["spec"]["selector"]["matchLabels"]
        for resource in (*_of_kind("Deployment"), *_of_kind("PodDisruptionBudget"))
    ]
    selectors += [resource["spec"]["selector"] for resource in _of_kind("Service")]
    assert len(selectors) == 12
    for selector in selectors:
        assert sum(selector.items() <= own.items() for own in labels) == 1


def test_metrics_are_discovered_and_allowed_by_the_network_policies() -> None:
    ports = {str(_container(name)["ports"][-1]["containerPort"]) for name in [*DEPLOYMENTS, "streamworkers-api"]}
    served = [port for service in _of_kind("Service") for port in service["spec"]["ports"] if port["name"] != "http"]
    assert {str(port["port"]) for port in served} == ports
    [monitor] = _of_kind("ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert {port["name"] for port in served} == {endpoint["port"]}
    assert endpoint["honorLabels"] is True
    assert all(
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        for service in _of_kind("Service")
    )
    names = ("streamworkers-metrics", "streamworkers-api")
    policies = [policy for policy in _of_kind("NetworkPolicy") if policy["metadata"]["name"] in names]
    allowed = {str(port["port"]) for each in policies for rule in each["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == ports | {"8080"}


def test_autoscalers_scale_what_is_there() -> None:
    found = []
    for resource in (*_of_kind("ScaledObject"), *_of_kind("HorizontalPodAutoscaler")):
        target = resource["spec"]["scaleTargetRef"]
        assert target["kind"] == "Deployment"
        assert target["name"] == resource["metadata"]["name"]
        found.append(target["name"])
    assert sorted(found) == ["streamworkers-api", "streamworkers-worker", "streamworkers-worker"]


def test_the_sessions_of_all_api_pods_fit_into_the_postgresql_of_the_compose_file() -> None:
    """Each has those of requests, and a few for heartbeats, events and a check."""
    [scaler] = [each for each in _of_kind("HorizontalPodAutoscaler") if each["metadata"]["name"] == "streamworkers-api"]
    each = Settings.model_fields["api_connections"].default + 5
    words = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["postgres"]["command"]
    [most] = [int(word.partition("=")[2]) for word in words if word.startswith("max_connections=")]
    assert scaler["spec"]["maxReplicas"] * each < most / 2


def test_keda_reads_the_stream_and_the_metric_that_the_pool_has() -> None:
    [scaled] = _of_kind("ScaledObject")
    stream, query = (trigger["metadata"] for trigger in scaled["spec"]["triggers"])
    prefix = Settings.model_fields["key_prefix"].default
    assert stream["stream"] in {Keys(prefix).stream(queue) for queue in installed_jobs().queues}
    assert stream["consumerGroup"] == GROUP
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    [name] = re.findall(r"streamworkers_\w+", query["query"])
    assert f"`{name}`" in metrics
    [login] = _of_kind("TriggerAuthentication")
    keys = {secret["metadata"]["name"]: secret["stringData"].keys() for secret in _of_kind("Secret")}
    assert all(reference["key"] in keys[reference["name"]] for reference in login["spec"]["secretTargetRef"])


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_prometheus_rule", KUBERNETES / "make_prometheus_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generating_the_prometheus_rule_again_changes_nothing() -> None:
    module = _generator()
    files = sorted(module.RULES.glob("*.yml"))
    assert files
    assert module.TARGET.read_text(encoding="utf-8") == module.prometheus_rule(files)


def test_links_of_generated_alerts_begin_with_the_address_that_is_given() -> None:
    module = _generator()
    files = sorted(module.RULES.glob("*.yml"))
    rule = yaml.safe_load(module.prometheus_rule(files, "https://grafana.example.com"))
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    assert len(alerts) > 20
    for alert in alerts:
        for name in ("dashboard_url", "runbook_url"):
            assert alert["annotations"][name].startswith("https://grafana.example.com/d/streamworkers-")

"""docker-compose.yml is valid, keeps its secrets out, and names only what exists."""

import re
import subprocess
import sys
from typing import Any

import click
import pytest

from patience import patient
from streamworkers.cli.main import cli
from streamworkers.config import Settings, load_settings
from topology.compose import (
    COMPOSE_FILE,
    OUR_IMAGE,
    REPOSITORY,
    compose_text,
    our_services,
    seconds,
    services,
    variables_of,
)

OPTIONAL = [name for name, given in variables_of(compose_text()).items() if given == (":-", "")]
REQUIRED = {name: "given" for name, (operator, _) in variables_of(compose_text()).items() if operator == ":?"}
SERVICES = services(REQUIRED)
OURS = our_services(REQUIRED)
PINNED = re.compile(r"([a-z0-9-]+/)?[a-z0-9-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?")


def test_it_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_services_are_those_of_the_whole_stack() -> None:
    whole = {"redis", "postgres", "migrate", "scheduler", "worker", "prometheus", "grafana"}
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == whole
    assert set(OURS) == {"migrate", "scheduler", "worker", "telegram", "api"}
    assert SERVICES["api"]["profiles"] == ["api"]
    assert SERVICES["telegram"]["profiles"] == ["telegram"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_version(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


def test_our_image_has_the_version_of_the_package() -> None:
    version = re.search(r'(?m)^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert version is not None
    assert {service["image"] for service in OURS.values()} == {f"{OUR_IMAGE}:{version[1]}"}


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_listens_beyond_this_host(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert isinstance(port, str)
        assert port.startswith("127.0.0.1:")
    assert SERVICES[name].get("network_mode") is None


def test_no_secret_has_a_default() -> None:
    for name, (operator, rest) in variables_of(compose_text()).items():
        is_port = name.endswith("_PORT") and operator == ":-" and rest.isdecimal()
        is_address = (name, operator, rest) == ("GRAFANA_URL", ":-", "http://localhost:3000")
        assert operator == ":?" or is_port or is_address or (operator, rest) == (":-", ""), name
    secrets = [line for line in compose_text().splitlines() if re.search(r"PASSWORD:|AUTH:|://[^/ ]*:[^/ ]*@", line)]
    assert len(secrets) >= 10
    assert [line for line in secrets if ":?" not in line] == []


@pytest.mark.parametrize("variable", REQUIRED)
def test_without_a_variable_it_is_rejected(variable: str) -> None:
    with pytest.raises(ValueError, match=variable):
        services({**REQUIRED, variable: ""})


def test_the_example_of_env_lists_every_variable_without_a_value() -> None:
    lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
    assert sorted(line for line in lines if line and not line.startswith("#")) == sorted(
        f"{name}=" for name in [*REQUIRED, *OPTIONAL]
    )


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_exists(name: str) -> None:
    command, *words = OURS[name]["command"]
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    found.make_context(command, words, help_option_names=["-h", "--help"])  # click keeps the option


@pytest.mark.parametrize("name", OURS)
def test_every_setting_exists_and_has_a_valid_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = OURS[name]["environment"]
    for variable, value in environment.items():
        assert variable.removeprefix("STREAMWORKERS_").lower() in Settings.model_fields, variable
        monkeypatch.setenv(variable, value)
    load_settings()


def test_each_service_logs_in_with_the_least_rights_it_needs() -> None:
    users = {
        name: re.findall(r"postgresql://([a-z_]+):", service["environment"]["STREAMWORKERS_DATABASE_URL"])[0]
        for name, service in OURS.items()
    }
    assert users == {
        "migrate": "streamworkers_owner",
        "scheduler": "streamworkers_worker",
        "worker": "streamworkers_worker",
        "telegram": "streamworkers_worker",
        "api": "streamworkers_worker",
    }
    script = (REPOSITORY / "deploy/compose/postgres-init.sh").read_text(encoding="utf-8")
    assert set(users.values()) < set(re.findall(r"CREATE ROLE (\w+) LOGIN", script))
    assert set(re.findall(r"getenv \w+ (\w+)", script)) <= set(SERVICES["postgres"]["environment"])


@pytest.mark.parametrize("name", OURS)
def test_containers_of_this_image_have_few_rights(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert "volumes" not in service


# What the entry points of Redis and PostgreSQL need to become the user of their image.
_BECOMING_A_USER = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}


def unhardened(name: str, service: dict[str, Any]) -> list[str]:
    """What a service could do that it need not."""
    added = set(service.get("cap_add", ())) - (_BECOMING_A_USER if name in ("redis", "postgres") else set())
    found = {
        "its root file system can be written": service.get("read_only") is not True,
        "it keeps capabilities": service.get("cap_drop") != ["ALL"] or added,
        "it can gain privileges": service.get("security_opt") != ["no-new-privileges:true"],
        "it is privileged or shares a namespace": {"privileged", "pid", "ipc", "network_mode", "userns_mode"}
        & set(service),
        "it has a device or the socket of Docker": "devices" in service or "docker.sock" in str(service.get("volumes")),
        "a file of the host can be written": any(
            volume.startswith((".", "/")) and not volume.endswith(":ro") for volume in service.get("volumes", ())
        ),
    }
    return [reason for reason, holds in found.items() if holds]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    assert unhardened(name, SERVICES[name]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"read_only": False},
        {"cap_add": ["NET_ADMIN"]},
        {"security_opt": []},
        {"pid": "host"},
        {"volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"]},
        {"volumes": ["./grafana:/etc/grafana"]},
    ],
)
def test_a_container_that_is_not_hardened_is_found(change: dict[str, Any]) -> None:
    assert len(unhardened("worker", SERVICES["worker"] | change)) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])


@pytest.mark.parametrize("name", ["scheduler", "worker", "telegram"])
def test_replicas_need_no_name_and_no_port_of_their_own(name: str) -> None:
    assert SERVICES[name]["deploy"]["replicas"] >= 2
    assert {"container_name", "hostname", "ports"}.isdisjoint(SERVICES[name])


@pytest.mark.parametrize("name", ["scheduler", "worker", "telegram", "api"])
def test_a_container_is_killed_only_after_its_grace(name: str) -> None:
    grace = float(SERVICES[name]["environment"]["STREAMWORKERS_GRACE_SECONDS"])
    assert seconds(SERVICES[name]["stop_grace_period"]) >= grace + 10


def test_durations_are_read_as_compose_reads_them() -> None:
    assert [seconds(text) for text in ("45s", "1m30s", "1h", "10")] == [45, 90, 3600, 10]


@pytest.mark.parametrize("name", ["scheduler", "worker", "telegram", "api"])
def test_the_health_check_asks_the_port_that_is_served(name: str) -> None:
    command = SERVICES[name]["command"]
    port = command[command.index("--metrics-port") + 1]
    assert f"http://127.0.0.1:{port}/livez" in SERVICES[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check == {"disable": True} if name == "migrate" else check["test"][0] in ("CMD", "CMD-SHELL")


def test_dependencies_of_services_exist_and_have_a_health_check() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            stays = SERVICES[other]["healthcheck"] != {"disable": True}
            assert how["condition"] == ("service_healthy" if stays else "service_completed_successfully")


def test_mounts_from_the_repository_exist_and_are_read_only() -> None:
    mounts = [
        volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume.startswith(".")
    ]
    assert len(mounts) >= 4
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (REPOSITORY / source).exists(), source
        assert mode == "ro"


def test_redis_persists_its_data() -> None:
    words: list[Any] = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--requirepass"] == "given"


def test_grafana_gets_every_variable_of_its_provisioning() -> None:
    grafana = SERVICES["grafana"]
    files = sorted((REPOSITORY / "grafana" / "provisioning").rglob("*.yml"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    asked = set(re.findall(r"\$\{(\w+)\}", text))
    assert asked
    assert asked <= set(grafana["environment"])
    assert set(re.findall(r"(?m)^ *path: (/\S+)", text)) <= {volume.split(":")[1] for volume in grafana["volumes"]}
    assert grafana["environment"]["STREAMWORKERS_GRAFANA_DATABASE_USER"] == "streamworkers_grafana"


def test_prometheus_scrapes_the_services_at_the_ports_they_serve() -> None:
    text = (REPOSITORY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    for name in ("scheduler", "worker", "telegram", "api"):
        command = SERVICES[name]["command"]
        assert re.search(rf"names: \[{name}\]\s+type: A\s+port: {command[command.index('--metrics-port') + 1]}\b", text)

"""What docs/guides/tls.md shows can be used as it stands."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from patience import patient
from streamworkers.config import Settings
from streamworkers.engine.redis.streams import open_streams

ROOT = Path(__file__).parent.parent.parent.parent
GUIDE = (ROOT / "docs" / "guides" / "tls.md").read_text(encoding="utf-8")


def _block(file: str) -> str:
    return GUIDE.partition(f"```yaml\n# {file}\n")[2].partition("```")[0]


def _check_urls(environment: dict[str, str]) -> None:
    values = {
        name.removeprefix("STREAMWORKERS_").lower(): re.sub(r"\$\{\w+\}", "x", environment[name])
        for name in environment
    }
    Settings.model_validate(values)
    if redis_url := values.get("redis_url"):
        open_streams(redis_url, "guide").close()
    options = conninfo_to_dict(values["database_url"])
    assert options["sslmode"] == "verify-full"
    assert options["sslrootcert"]


def test_the_urls_are_accepted() -> None:
    exported = dict(re.findall(r"export (STREAMWORKERS_\w+)='(.+)'", GUIDE))
    assert len(exported) == 2
    _check_urls(exported)


def test_the_compose_file_changes_services_that_exist() -> None:
    changed = yaml.safe_load(_block("docker-compose.override.yml"))["services"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert changed.keys() == {
        name for name, service in services.items() if service["image"].startswith("streamworkers")
    }
    for service in changed.values():
        _check_urls(service["environment"])
        assert service["volumes"] == ["./tls:/tls:ro"]


def test_kustomize_mounts_the_files_into_every_pod(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    text = _block("kustomization.yaml").replace("deploy/", f"{os.path.relpath(ROOT, tmp_path)}/deploy/")
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=patient(60), check=False
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    pods = [each["spec"]["template"]["spec"] for each in built if each["kind"] in ("Deployment", "Job")]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
        [volume] = [each for each in pod["volumes"] if each["name"] == "tls"]
        assert oct(volume["secret"]["defaultMode"]) == "0o440"
        assert _mounts(pod)["tls"]["readOnly"] is True


def _mounts(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    [container] = pod["containers"]
    return {mount["name"]: mount for mount in container["volumeMounts"]}

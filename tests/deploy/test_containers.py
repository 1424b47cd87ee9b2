"""The container file, compose and the Kubernetes manifests: what can be checked without a container engine.

Checked by the tools' own schemas where they are here (kubectl, kubectl-validate, compose-go); the rest by structure.
Not checked: that the image builds and the manifests run; no engine, registry or cluster is at hand.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.runtime.settings import Settings, load_settings
from tests.support.deploy_tools import DEPLOY, ROOT, needs, run, tool

MANIFESTS = DEPLOY / "kubernetes"


def manifests() -> list[dict[str, Any]]:
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text("utf-8"))["resources"]
    return [document for name in names for document in yaml.safe_load_all((MANIFESTS / name).read_text("utf-8"))]


def manifest(kind: str, name: str = "gateway") -> dict[str, Any]:
    return next(found for found in manifests() if found["kind"] == kind and found["metadata"]["name"] == name)


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("StatefulSet")["spec"]["template"]
    return found


KUSTOMIZE = ("kubectl", "kustomize") if tool("kubectl") else ("kustomize", "build")


@needs(KUSTOMIZE[0])
@needs("kubectl-validate")
def test_kubernetes_schemas_accept_the_manifests(tmp_path: Path) -> None:
    """`kubectl kustomize` puts them together; `kubectl-validate` holds them to the schemas of Kubernetes 1.30."""
    rendered = run(*KUSTOMIZE, MANIFESTS)
    (tmp_path / "all.yaml").write_text(rendered, "utf-8")
    said = run("kubectl-validate", tmp_path)
    assert "OK" in said
    assert "ERROR" not in said
    broken = rendered.replace("maxUnavailable: 1", "maxUnavailble: 1")
    (tmp_path / "all.yaml").write_text(broken, "utf-8")
    found = tool("kubectl-validate")
    assert found is not None
    assert subprocess.run([found, tmp_path], capture_output=True, check=False).returncode != 0


def test_every_manifest_is_part_of_the_whole() -> None:
    """No file lies beside the kustomization unused."""
    listed = set(yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text("utf-8"))["resources"])
    assert listed | {"kustomization.yaml"} == {path.name for path in MANIFESTS.iterdir()}


def test_selectors_find_the_pods() -> None:
    """Services, budget, policy and affinity all mean the pods that the set makes."""
    labels = pod()["metadata"]["labels"].items()
    chosen = [found["spec"]["selector"] for found in manifests() if found["kind"] == "Service"]
    chosen += [manifest(kind)["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "StatefulSet")]
    chosen += [manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    affinity = pod()["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    chosen += [term["labelSelector"]["matchLabels"] for term in affinity]
    for selector in chosen:
        assert selector.items() <= labels


def test_ports_that_are_named_exist() -> None:
    """A probe or service on a port name that no container has would never succeed."""
    names = {port["name"] for port in pod()["spec"]["containers"][0]["ports"]}
    text = json.dumps(manifests())
    wanted = set(re.findall(r'"(?:targetPort|port)": "([a-z-]+)"', text))
    assert wanted <= names


def test_pods_give_up_what_they_do_not_need() -> None:
    """Pod Security `restricted`, in the manifests themselves: no root, no capability, no write to the image."""
    spec = pod()["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_three_nodes_stay_available_and_apart() -> None:
    """Three replicas on three hosts, one away at a time, none ready before it can serve."""
    assert manifest("StatefulSet")["spec"]["replicas"] == 3
    assert manifest("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    container = pod()["spec"]["containers"][0]
    assert container["readinessProbe"]["exec"]["command"][-1] == "ready"
    assert container["livenessProbe"]["exec"]["command"][-1] == "live"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][:3] == ["python", "-m", "gateway.runtime.probe"]
    seconds = pod()["spec"]["terminationGracePeriodSeconds"]
    assert seconds > Settings().data_plane.drain_seconds + 4 * 10


def test_service_links_cannot_be_taken_for_settings() -> None:
    """Kubernetes would put GATEWAY_SERVICE_HOST into a pod beside a service named gateway: an unknown setting."""
    assert pod()["spec"]["enableServiceLinks"] is False


def test_settings_in_configmap_and_compose_are_settings(tmp_path: Path) -> None:
    """A name that the gateway does not know would keep it from starting."""
    absent = tmp_path / "none.toml"
    settings = load_settings(absent, manifest("ConfigMap", "gateway-settings")["data"])
    assert settings.data_plane.port == pod()["spec"]["containers"][0]["ports"][0]["containerPort"]
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text("utf-8"))
    text = (DEPLOY / "container" / ".env.example").read_text("utf-8")
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    environment = compose["services"]["gateway"]["environment"]
    load_settings(
        absent,
        {
            name: re.sub(r"\$\{([A-Z_]+):[^}]*\}", lambda asked: example[asked[1]] or "x", value)
            for name, value in environment.items()
        },
    )
    words = (DEPLOY / "container" / "Containerfile").read_text("utf-8")
    load_settings(absent, dict(re.findall(r"(GATEWAY_[A-Z_]+)=(\S+)", words)))


@needs("compose-check")
@pytest.mark.parametrize(("old", "new", "good"), [("", "", True), ("restart:", "restrat:", False)])
def test_compose_schema_accepts_the_file(tmp_path: Path, old: str, new: str, good: bool) -> None:
    """compose-go, the loader of `docker compose`: schema and references between services; a misspelt key is refused."""
    text = (DEPLOY / "container" / "compose.yaml").read_text("utf-8")
    file = tmp_path / "compose.yaml"
    file.write_text(re.sub(r"\$\{[A-Z_]+:[^}]*\}", "x", text).replace(old, new), "utf-8")
    found = tool("compose-check")
    assert found is not None
    done = subprocess.run([found, file], capture_output=True, check=False, timeout=60)
    assert (done.returncode == 0) == good, done.stderr.decode()


def test_compose_shows_nothing_outside_and_asks_for_secrets() -> None:
    """Ports on this machine alone, the database on a network without a way out, every secret demanded."""
    text = (DEPLOY / "container" / "compose.yaml").read_text("utf-8")
    compose = yaml.safe_load(text)
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert compose["networks"]["state"] == {"internal": True}
    assert compose["services"]["database"]["networks"] == ["state"]
    asked = set(re.findall(r"\$\{([A-Z_]+):", text))
    asked |= {secret["environment"] for secret in compose["secrets"].values() if "environment" in secret}
    offered = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "container" / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert asked == offered


def test_container_file_copies_what_exists_and_drops_root() -> None:
    """Each source is in the repository; the last stage runs as a number, not as root."""
    lines = re.sub(r"\\\n", " ", (DEPLOY / "container" / "Containerfile").read_text("utf-8")).splitlines()
    steps = [line.split() for line in lines if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    known |= {"ENTRYPOINT", "CMD", "ARG"}
    assert {step[0] for step in steps} <= known
    for step in steps:
        if step[0] == "COPY" and not step[1].startswith("--from="):
            assert all((ROOT / source).exists() for source in step[1:-1]), step
    last = max(index for index, step in enumerate(steps) if step[0] == "FROM")
    users = [step[1] for step in steps[last:] if step[0] == "USER"]
    assert users == ["10001:10001"]


def test_runtime_lock_holds_what_runs_and_not_what_tests() -> None:
    """The image's packages: every dependency of the project with its hashes, none of the development group."""
    command = [sys.executable, DEPLOY / "runtime-lock", ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text("utf-8").split("dependencies = [")[1].split("]\n\n")[0]
    wanted = {name.lower() for name in re.findall(r'"([A-Za-z0-9-]+)', project)}
    assert wanted <= names
    assert not {"pytest", "mypy", "ruff", "hypothesis", "matplotlib", "hatchling"} & names
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z])", text.strip()))


def test_runtime_lock_takes_in_the_extras_that_are_named() -> None:
    """`EXTRAS` of the container file: what `oidc` needs is there when it is asked for, and only then."""
    command = [sys.executable, DEPLOY / "runtime-lock", ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    bare, more = (
        subprocess.run([*command, *extras], capture_output=True, check=True, text=True).stdout
        for extras in ((), ("oidc",))
    )
    assert not re.search(r"^authlib==", bare, re.MULTILINE)
    assert re.search(r"^authlib==", more, re.MULTILINE)


def test_scripts_are_shell_or_python_that_parses() -> None:
    """Every script under deploy/ is executable and at least parses."""
    scripts = [path for path in DEPLOY.iterdir() if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert scripts
    for script in scripts:
        assert script.stat().st_mode & 0o111, script.name
        if b"python" in script.read_bytes().splitlines()[0]:
            compile(script.read_text("utf-8"), str(script), "exec")
        else:
            bash = shutil.which("bash")
            assert bash is not None
            subprocess.run([bash, "-n", script], check=True)


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_has_no_key_twice(path: Path) -> None:
    """YAML takes the last of two equal keys, silently."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(set(keys)) == len(keys), f"{path}: {keys}"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    list(yaml.load_all(path.read_text("utf-8"), Strict))

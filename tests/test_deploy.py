"""The files in deploy/ fit the schemas of Compose and Kubernetes, and each other. No cluster runs here."""

import configparser
import re
import tomllib

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from conftest import PROJECT

DEPLOY = PROJECT / "deploy"
KUBERNETES = [(path, one) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
              for one in yaml.safe_load_all(path.read_text())]  # fmt: skip
BUILT_IN = [
    pytest.param(one, id=f"{path.stem}-{one['kind']}") for path, one in KUBERNETES if one["kind"] != "RayCluster"
]
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
RAY_START = {"num-cpus", "num-gpus", "dashboard-host"}  # of the options of `ray start`, those that the file uses


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def environment_names():
    return set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))


@pytest.mark.parametrize("manifest", BUILT_IN)
def test_a_manifest_fits_the_schema_of_kubernetes(manifest):
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_the_schema_of_kubernetes_refuses_a_misspelt_field():
    manifest = next(one for _, one in KUBERNETES if one["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest | {"spec": manifest["spec"] | {"replica": 1}}, "1.31", strict=True)


def test_the_ray_cluster_has_pods_that_kubernetes_accepts_and_the_fields_of_kuberay():
    (cluster,) = [one for _, one in KUBERNETES if one["kind"] == "RayCluster"]
    assert cluster["apiVersion"] == "ray.io/v1" and cluster.keys() == {"apiVersion", "kind", "metadata", "spec"}
    spec = cluster["spec"]
    assert spec.keys() == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert spec["authOptions"] == {"mode": "token"} and f"ray=={spec['rayVersion']}" in EXTRAS["cluster"]
    group_fields = {"rayStartParams", "template"}
    assert spec["headGroupSpec"].keys() == group_fields
    for group in spec["workerGroupSpecs"]:
        assert group.keys() == group_fields | {"groupName", "replicas", "minReplicas", "maxReplicas"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["rayStartParams"].keys() <= RAY_START
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, "1.31", strict=True)


def test_kustomize_finds_its_files_and_makes_what_the_pods_use():
    made = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert all((DEPLOY / path).is_file() for path in made["resources"])
    (config,), (secret,) = made["configMapGenerator"], made["secretGenerator"]
    assert config["files"] == ["auth.ini"] and secret["envs"] == [".env"]
    text = "\n".join(path.read_text() for path in (DEPLOY / "kubernetes").glob("*.yaml"))
    keys = set(re.findall(r"key: ([A-Z_]+)", text))
    assert keys and keys <= environment_names()
    assert {config["name"], secret["name"]} == {"mlflow-auth", "mlflow"}
    assert re.findall(r"configMap:\n\s+name: (\S+)", text) == [config["name"]]
    assert set(re.findall(r"secret(?:Key)?Ref:\n\s+name: (\S+)", text)) == {secret["name"]}


def test_the_compose_file_fits_the_specification_and_a_misspelt_field_does_not():
    text = (DEPLOY / "compose.yaml").read_text()
    assert PyCompose.from_yaml(text).service_names() == ["postgres", "objects", "mlflow"]
    with pytest.raises(ValueError, match="commands"):
        PyCompose.from_yaml(text.replace("command:", "commands:"))


def test_compose_uses_only_what_the_example_asks_for():
    assert set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text())) == environment_names()


def test_both_servers_have_the_database_of_the_users_and_of_the_runs():
    users = configparser.ConfigParser()
    users.read(DEPLOY / "auth.ini")
    uri = users["mlflow"]["database_uri"]
    (server,) = [one for path, one in KUBERNETES if path.stem == "mlflow" and one["kind"] == "Deployment"]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    for command in (compose()["services"]["mlflow"]["command"], container["command"]):
        assert f"--backend-store-uri={uri}" in command and "--app-name=basic-auth" in command
    assert uri.startswith("postgresql+psycopg://")


def test_the_image_installs_extras_that_exist():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert set(re.findall(r"EXTRAS=(\w+)", dockerfile)) == {"server", "kubernetes"} <= EXTRAS.keys()
    assert "ray[default]" in EXTRAS["kubernetes"]  # without its dashboard, KubeRay takes a node for dead
    copied = " ".join(re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", dockerfile, re.MULTILINE)).split()
    assert copied and all((PROJECT / path).exists() for path in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{path}" for path in copied} <= set(ignored)

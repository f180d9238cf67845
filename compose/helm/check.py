"""The chart, rendered with its defaults and with each of examples/: linted, every object checked strictly against Kubernetes' schemas (an unknown
field is refused, which a cluster would ignore), pods against the rules below, settings by the binaries themselves where they are built. And
values that must be refused are. Called by scripts/test-helm.sh, which installs what is imported here."""

import copy
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import helm_python
import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, ServiceMonitor

HERE = pathlib.Path(__file__).parent
CHART = HERE / "zisk"
# The oldest that the chart allows, and the newest that there is a schema of.
VERSIONS = ["1.27", "1.37"]
BINARIES = pathlib.Path(os.environ.get("ZISK_BINARIES", HERE.parent.parent / "target/release"))

# What the schema must refuse, and a word of the reason.
REFUSED = [
    ({"worker": {"replica": 3}}, "replica"),
    ({"nats": {"url": "nats://worker:password@nats:4222"}}, "url"),
    ({"nats": {"url": "http://nats:8222"}}, "url"),
    ({"nats": {"replicas": 2}}, "replicas"),
    ({"nats": {"auth": "password"}}, "coordinatorSecret"),
    ({"nats": {"auth": "token"}}, "auth"),
    ({"nats": {"tls": {"coordinatorSecret": "tls"}}}, "workerSecret"),
    ({"objects": {"url": "file:///srv/zisk"}}, "url"),
    ({"objects": {"url": "s3://zisk", "s3": {"endpoint": "http://s3:8333"}}}, "allowHttp"),
    ({"objects": {"s3": {"secretKey": "in the open"}}}, "secretKey"),
    ({"autoscaling": {"enabled": True}}, "prometheusUrl"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"worker": {"computeUnits": 0}}, "computeUnits"),
    ({"log": {"format": "xml"}}, "format"),
]


def strict(node):
    """A schema in which objects with named properties have no others."""
    if isinstance(node, dict):
        node = {key: strict(value) for key, value in node.items()}
        if "properties" in node and "additionalProperties" not in node:
            node["additionalProperties"] = False
        return node
    return [strict(value) for value in node] if isinstance(node, list) else node


CUSTOM = {model.__name__: strict(model.model_json_schema(by_alias=True)) for model in (ScaledObject, ServiceMonitor, PodMonitor)}


def validate(thing):
    """Raises with the place and the reason."""
    if thing["kind"] in CUSTOM:
        jsonschema.validate(thing, CUSTOM[thing["kind"]])
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(thing, version, strict=True)


def must_refuse(thing, change):
    broken = copy.deepcopy(thing)
    change(broken)
    try:
        validate(broken)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return
    sys.exit(f"{thing['kind']} with an unknown field is not refused: nothing that is said here counts")


def check_pod(template):
    """As confined as in compose, and nothing that Kubernetes adds unasked."""
    spec, labels = template["spec"], template["metadata"]["labels"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] > 30
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"] and context["capabilities"]["drop"] == ["ALL"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health" and container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["resources"]["limits"]["memory"]
    mounts, volumes = ({one["name"] for one in ones} for ones in (container["volumeMounts"], spec["volumes"]))
    assert mounts == volumes, (mounts, volumes)
    # A file that a variable names is in something that is mounted.
    for variable in container["env"]:
        path = variable.get("value", "")
        assert not path.startswith("/") or any(path.startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"]), path
    return labels, container


def check_settings(component, container, config):
    """What the pod is told is what the binary takes; whether it was looked at."""
    tomllib.loads(config)
    binary = BINARIES / f"zisk-{component}"
    if not binary.exists():
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        told = {one["name"]: one.get("value", "from-a-secret") for one in container["env"]}
        command = [binary, "--config", file.name, "--print-config"]
        ended = subprocess.run(command, env=told, capture_output=True, text=True)
    assert ended.returncode == 0, f"{component}: {ended.stderr}"
    assert told["ZISK_NATS_URL"] in ended.stdout, ended.stdout
    return True


def check(chart, name, values):
    found = helm_python.lint(CHART, values, strict=True)
    assert not found["errors"], f"{name}: {found['errors']}"
    rendered = chart.render(values, name="prover", namespace="zisk")
    things = [thing for file, text in rendered.items() if file.endswith(".yaml") for thing in yaml.safe_load_all(text) if thing]
    for thing in things:
        try:
            validate(thing)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            sys.exit(f"{name}: {thing['kind']} {thing['metadata']['name']}: {error}")
        must_refuse(thing, lambda broken: broken.update(unknownField=1))
        if "spec" in thing:
            must_refuse(thing, lambda broken: broken["spec"].update(unknownField=1))
    of = lambda kind: {thing["metadata"]["name"]: thing for thing in things if thing["kind"] == kind}
    config = of("ConfigMap")["prover-zisk"]["data"]
    looked = True
    for component in ("coordinator", "worker"):
        deployment = of("Deployment")[f"prover-zisk-{component}"]
        labels, container = check_pod(deployment["spec"]["template"])
        selects = [deployment["spec"]["selector"]["matchLabels"]]
        for kind in ("PodDisruptionBudget", "ServiceMonitor", "PodMonitor"):
            selects += [thing["spec"]["selector"]["matchLabels"] for thing in of(kind).values() if thing["metadata"]["name"].endswith(component)]
        selects += [thing["spec"]["podSelector"]["matchLabels"] for thing in of("NetworkPolicy").values() if thing["metadata"]["name"].endswith(component)]
        selects += [thing["spec"]["selector"] for thing in of("Service").values() if thing["metadata"]["name"].endswith(component)]
        for selector in selects:
            assert selector.items() <= labels.items(), (selector, labels)
        looked &= check_settings(component, container, config[f"{component}.toml"])
    scaled = of("ScaledObject")
    assert ("replicas" in of("Deployment")["prover-zisk-worker"]["spec"]) != bool(scaled), "two would set the number of workers"
    for one in scaled.values():
        assert one["spec"]["scaleTargetRef"]["name"] in of("Deployment")
    print(f"{name}: {len(things)} objects" + ("" if looked else "; settings not tried: the binaries are not built"))


def main():
    with helm_python.Chart.load(CHART) as chart:
        check(chart, "defaults", {})
        for file in sorted(HERE.glob("examples/*.yaml")):
            check(chart, file.stem, yaml.safe_load(file.read_text()))
        for values, word in REFUSED:
            try:
                chart.render(values, name="prover", namespace="zisk")
            except helm_python.HelmError as error:
                assert word in str(error), f"{values} is refused without {word!r}: {error}"
            else:
                sys.exit(f"{values} is not refused")
    print(f"{len(REFUSED)} mistakes refused")


main()

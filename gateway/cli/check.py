"""``check``: read everything that ``serve`` would, and say what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.app.load import load
from gateway.app.system import SystemClock
from gateway.errors import ConfigurationError


def run(config: Path) -> int:
    """Print problems and warnings; 1 where there is any problem."""
    try:
        loaded = load(config, SystemClock().now)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 1
    for problem in loaded.problems:
        print(f"error: {problem}", file=sys.stderr)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if loaded.problems:
        return 1
    settings = loaded.settings
    print(
        f"{config}: good. {len(settings.listeners)} listeners, {len(settings.upstreams)} upstreams,"
        f" {len(loaded.policy.rules)} rules, {len(loaded.keyring.identities)} own keys,"
        f" {len(loaded.certificates.certificates)} certificates of others, {len(loaded.anchors.certificates)} anchors"
    )
    return 0

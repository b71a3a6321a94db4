"""Trust anchors in files and folders: explicit, complete, nothing of the system's.

What it does: loads every certificate of the paths; which of them may issue and for what is judged where paths are
validated (:mod:`gateway.pkix.path`). Standards: RFC 5280 6.1.1 (d). Raises nothing: what is wrong is in
:attr:`FolderAnchors.problems`, and with no certificate at all nothing is ever trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from gateway.errors import Problem
from gateway.pkix import Certificate, PathValidator
from gateway.stores.folder import problem, read_folders
from gateway.stores.keyring import EXPIRY_NOTICE


class FolderAnchors:
    """The trust anchors of some files and folders. Immutable once made."""

    def __init__(self, paths: Sequence[Path], *, now: Callable[[], datetime]) -> None:
        """Load them. ``now`` is the clock, asked now, for warnings about validity."""
        contents = read_folders(paths, are_private=False)
        moment = now()
        for material in contents.materials:
            if material.keys:
                contents.problems.append(problem(material.path, "a private key among the trust anchors: take it away"))
            for certificate in material.certificates:
                if certificate.not_after < moment:
                    text = f"the trust anchor {certificate.subject} has expired on {certificate.not_after:%Y-%m-%d}"
                    contents.warnings.append(problem(material.path, text))
                elif certificate.not_after <= moment + EXPIRY_NOTICE:
                    text = f"the trust anchor {certificate.subject} expires on {certificate.not_after:%Y-%m-%d}"
                    contents.warnings.append(problem(material.path, text))
        found = [one for material in contents.materials for one in material.certificates]
        self.certificates: tuple[Certificate, ...] = tuple(dict.fromkeys(found))
        """The anchors, each once, in the order of the files."""
        if paths and not found and not contents.problems:
            contents.problems.append(problem(paths[0], "no certificate in here: nothing would be trusted"))
        self.problems: tuple[Problem, ...] = tuple(contents.problems)
        """What has to be repaired."""
        self.warnings: tuple[Problem, ...] = tuple(contents.warnings)
        """What should be looked at."""

    def validator(self) -> PathValidator:
        """Return a new validator for these anchors."""
        return PathValidator(self.certificates)

"""The memory budget of a worker: how many octets of mail may be in flight at once."""

from __future__ import annotations


class Budget:
    """Counts octets against a limit. A message is counted from its first chunk until its transaction has ended."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @property
    def free(self) -> int:
        """Octets that may still be taken."""
        return self._free

    def take(self, octets: int) -> bool:
        """Take ``octets``; ``False``, and nothing taken, where they are not there."""
        if octets > self._free:
            return False
        self._free -= octets
        return True

    def give(self, octets: int) -> None:
        """Give back."""
        self._free += octets

"""A company's folder, minted once and copied for each test that changes it; event loops."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.support.house import House
from tests.support.loopback import LOOPS, Run, run_on


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end, on asyncio's own loop and on uvloop where that is installed."""
    return partial(run_on, LOOPS[request.param])


@pytest.fixture(scope="session")
def minted(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The company; not to be changed."""
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture
def house(minted: House, tmp_path: Path) -> House:
    """A copy of it, without settings: ``house.write`` makes them."""
    folder = tmp_path / "house"
    shutil.copytree(minted.folder, folder)
    copy = House.__new__(House)
    copy.__dict__ = {**minted.__dict__, "folder": folder, "settings": folder / "gateway.yaml"}
    return copy

"""Control planes for these tests, closed when each ends."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control import World


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with officers, a released dataset, its interface and a system, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    world = World(folder)
    world.furnish()
    world.close()
    shutil.rmtree(folder / "ledger")
    return folder


@pytest.fixture
def make_world(tmp_path: Path, furnished: Path) -> Iterator[Callable[..., World]]:
    """Worlds with a released dataset, its interface and a system."""
    made: list[World] = []

    def make(**options: Any) -> World:
        folder = tmp_path / str(len(made))
        shutil.copytree(furnished, folder)
        made.append(World(folder, **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world without ledger and workers."""
    return make_world()

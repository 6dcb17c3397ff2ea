"""What all blocks share: an account with pictures, a frontend made of the scripts, a place for shell commands."""

from __future__ import annotations

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.docs import modules, shell
from tests.docs.modules import Project
from tests.docs.scene import Scene, set_scene


@pytest.fixture(scope="session")
async def scene(local: Local, api: Child, worker: Child) -> Scene:
    return await set_scene(local, api.url)


@pytest.fixture(scope="session")
async def project(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return await modules.prepare(tmp_path_factory.mktemp("frontend"), scene.values)


@pytest.fixture(scope="session")
async def sandbox(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> shell.Sandbox:
    return shell.open_sandbox(tmp_path_factory.mktemp("sandbox"), scene)

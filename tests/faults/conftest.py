"""One pool on services of its own, which the tests here restart and maltreat."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.faulty_pool import FaultyPool, make_database
from memory import folder_of_services
from streamworkers.config import Settings
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.registry import Registry

SAMPLE_JOBS = Path(__file__).parent.parent / "sample_jobs"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need."""
    made = folder_of_services("sw-faults-")
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def faulty_services() -> Iterator[EmbeddedServices]:
    """Services with a migrated database that belongs to a role without special rights, as in production."""
    folder = folder_of_services("sw-faults-")
    services = EmbeddedServices(Settings(data_dir=folder))
    try:
        services.start()
        make_database(services)
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def faults_environment(no_other_jobs: Path) -> dict[str, str]:
    """The environment of a pool's processes but for their services."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
    return {**inherited, "PYTHONPATH": f"{no_other_jobs}{os.pathsep}{SAMPLE_JOBS}", "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def shared_pool(
    faulty_services: EmbeddedServices,
    registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
    faults_environment: dict[str, str],
) -> Iterator[FaultyPool]:
    """The pool of all tests; starting one takes longer than most of them."""
    pool = FaultyPool(faulty_services, registry, tmp_path_factory.mktemp("faults"), faults_environment)
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def pool(shared_pool: FaultyPool) -> FaultyPool:
    """The pool, well and with nothing to do."""
    shared_pool.begin()
    return shared_pool

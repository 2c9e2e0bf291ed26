"""Which database the suite runs on: `pytest --backing sqlite` (the default) or `--backing postgresql`.

pytest-django reads the settings before any conftest, so the servers start and the environment is set
in a plugin (`-p`). `postgresql` starts servers only for those of DATABASE_URL and REDIS_URL that are
unset; `sqlite` takes no notice of either.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.plugins.servers import PostgresServer, RedisServer, ServerError

BACKINGS = ("sqlite", "postgresql")

# Set by the process that started the suite's Redis, for its xdist workers.
_OWN_REDIS = "NEXUS_TEST_OWN_REDIS"

_cleanup = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backing",
        choices=BACKINGS,
        default=os.environ.get("NEXUS_TEST_BACKING", "sqlite"),
        help="SQLite without Redis, or PostgreSQL and Redis (default: NEXUS_TEST_BACKING, else sqlite)",
    )


# A wrapper, because wrappers begin before every plain hook, pytest-django's among them, whatever the
# order in which plugins were registered.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    backing = early_config.known_args_namespace.backing
    # argparse does not hold a default against the choices.
    if backing not in BACKINGS:
        raise pytest.UsageError(f"NEXUS_TEST_BACKING is one of {', '.join(BACKINGS)}.")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        _enter_as_worker(worker)
    else:
        # Covers what ends before pytest_unconfigure is due, such as a usage error.
        atexit.register(_cleanup.close)
        try:
            _enter(backing)
        except ServerError as error:
            raise pytest.UsageError(str(error)) from error
    return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("backing") == "postgresql":
        return
    for item in items:
        if item.get_closest_marker("postgresql_only"):
            item.add_marker(pytest.mark.skip(reason="the same on either database: runs on PostgreSQL"))


def pytest_unconfigure() -> None:
    _cleanup.close()


def pytest_report_header(config: pytest.Config) -> str:
    return f"backing: {config.getoption('backing')}"


def _enter(backing: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="nexus-test-"))
    _cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NEXUS_ENV"] = "test"
    os.environ["NEXUS_VAR"] = str(folder / "var")
    Path(os.environ["NEXUS_VAR"]).mkdir()
    if backing == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{folder / 'test.sqlite3'}"
        os.environ.pop("REDIS_URL", None)
        return
    if os.environ.get("DATABASE_URL", "").startswith("sqlite"):
        raise pytest.UsageError("--backing postgresql, but DATABASE_URL names a SQLite file: unset it.")
    if not os.environ.get("DATABASE_URL"):
        os.environ["DATABASE_URL"] = _cleanup.enter_context(PostgresServer()).url
    if not os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = _cleanup.enter_context(RedisServer()).url
        os.environ[_OWN_REDIS] = "1"


def _enter_as_worker(worker: str) -> None:
    """Workers share the servers. pytest-django gives each a database of its own; this gives the rest."""
    var = Path(os.environ["NEXUS_VAR"]) / worker
    var.mkdir(exist_ok=True)
    os.environ["NEXUS_VAR"] = str(var)
    if os.environ.get(_OWN_REDIS):
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()

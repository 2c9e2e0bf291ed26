"""Which tests stay in one process of a parallel run: those that share what is slow to start.

xdist has marks for that, but with the node ids of pytest 9.2 it passes over them without a word
(https://github.com/pytest-dev/pytest-xdist/issues/1386).
"""

import pytest
from xdist.scheduler import LoadScopeScheduling, Scheduling  # type: ignore[import-untyped]

TOGETHER = (
    "tests/browser/",  # one server and one browser
    "tests/contract/test_demo.py",  # one demo
    "tests/contract/test_up.py",  # one server, and tests that build on one another
)


class _Together(LoadScopeScheduling):  # type: ignore[misc]
    """A process takes the next test or the next group when it is free, the largest group first."""

    def _split_scope(self, nodeid: str) -> str:
        return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return _Together(config, log)

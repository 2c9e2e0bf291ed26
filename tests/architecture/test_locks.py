"""The locks say what pyproject.toml says; `make lock` makes them anew."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: list[str] = PYPROJECT["project"]["dependencies"]
DEV: list[str] = PYPROJECT["project"]["optional-dependencies"]["dev"]
TOOLS: list[str] = PYPROJECT["dependency-groups"]["tools"]
LOCKS = ["requirements.txt", "requirements-dev.txt", "requirements-tools.txt"]


def locked(lock: str) -> set[str]:
    """The `name==version` of each package in `lock`."""
    return set(re.findall(r"^([a-z0-9-]+==\S+) \\$", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize(("lock", "pins"), list(zip(LOCKS, [RUNTIME, RUNTIME + DEV, TOOLS], strict=True)))
def test_a_lock_holds_every_pin_of_the_project(lock: str, pins: list[str]) -> None:
    names = {re.sub(r"\[.*\]", "", pin) for pin in pins}

    assert names - locked(lock) == set()


def test_the_development_lock_contains_the_runtime_lock() -> None:
    assert locked("requirements.txt") - locked("requirements-dev.txt") == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_only_names_and_hashes(lock: str) -> None:
    line = re.compile(r"[a-z0-9-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?")

    unexpected = [text for text in (ROOT / lock).read_text().splitlines() if not line.fullmatch(text)]

    assert unexpected == []

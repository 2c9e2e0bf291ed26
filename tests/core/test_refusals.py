"""Production refuses to start insecure, naming what is in the way."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus.settings.refusals import refusals

GOOD: dict[str, Any] = {
    "DEBUG": False,
    "SECRET_KEY": "x" * 50,
    "ALLOWED_HOSTS": ["nexus.example.org"],
    "NEXUS_PUBLIC_URL": "https://nexus.example.org",
    "NEXUS_ROOT_KEY": "set",
    "NEXUS_ROOT_KEY_FILE": "",
    "DATABASE_URL": "postgresql://db/nexus",
    "REDIS_URL": "redis://:password@redis/0",
}


def test_good_settings_are_not_refused() -> None:
    assert list(refusals(GOOD)) == []
    assert list(refusals({**GOOD, "NEXUS_ROOT_KEY": "", "NEXUS_ROOT_KEY_FILE": "/run/key"})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", True),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("ALLOWED_HOSTS", ["*"]),
        ("ALLOWED_HOSTS", ["*.example.org"]),
        ("ALLOWED_HOSTS", [".example.org"]),
        ("NEXUS_PUBLIC_URL", ""),
        ("NEXUS_PUBLIC_URL", "http://nexus.example.org"),
        ("NEXUS_PUBLIC_URL", "https://"),
        ("NEXUS_ROOT_KEY", ""),
        ("DATABASE_URL", ""),
        ("REDIS_URL", ""),
        ("REDIS_URL", "redis://redis/0"),
    ],
)
def test_each_insecure_setting_is_refused_by_name(name: str, value: Any) -> None:
    found = list(refusals({**GOOD, name: value}))

    assert len(found) == 1
    assert found[0].startswith(name)


def run(arguments: list[str], var: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env={**kept, "NEXUS_VAR": str(var), **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_installation_that_recorded_nothing_is_production_and_does_not_start(tmp_path: Path) -> None:
    ended = run(["check"], tmp_path)

    assert ended.returncode != 0
    for name in ("SECRET_KEY", "NEXUS_PUBLIC_URL", "NEXUS_ROOT_KEY", "DATABASE_URL", "REDIS_URL"):
        assert name in ended.stderr


def test_production_takes_no_demo(tmp_path: Path) -> None:
    good = {name: value for name, value in GOOD.items() if isinstance(value, str)}
    ended = run(["up", "--demo", "--json"], tmp_path, NEXUS_ENV="production", **good)

    assert ended.returncode == 1
    assert "--demo" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_an_environment_that_does_not_exist_is_no_default(tmp_path: Path) -> None:
    ended = run(["check"], tmp_path, NEXUS_ENV="prod")

    assert ended.returncode != 0
    assert "production" in ended.stderr

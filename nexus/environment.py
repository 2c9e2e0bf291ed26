"""Which settings a process runs with, decided before Django is imported."""

import os
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENTS = ("production", "embedded", "test")

_MODULES = {
    "production": "nexus.settings.base",
    "embedded": "nexus.settings.embedded",
    "test": "nexus.settings.test",
}


def var_directory() -> Path:
    """Where this installation keeps its files: `NEXUS_VAR`, by default `./var`."""
    return Path(os.environ.get("NEXUS_VAR") or "var").resolve()


def make_var_directory() -> Path:
    """Make the directory of `NEXUS_VAR` where it is missing; it is readable by its owner alone."""
    directory = var_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory


def environment_name(argv: Sequence[str] = ()) -> str:
    """`NEXUS_ENV`, else what `up` recorded in `NEXUS_VAR`, else production.

    `up` alone, finding neither, records `embedded`, so that later commands beside it agree.
    Raises SystemExit for a name that does not exist: guessing would pick insecure settings.
    """
    recorded = var_directory() / "environment"
    name = os.environ.get("NEXUS_ENV", "")
    if not name and recorded.is_file():
        name = recorded.read_text(encoding="ascii").strip()
    if not name and len(argv) > 1 and argv[1] == "up":
        name = "embedded"
        make_var_directory()
        recorded.write_text(name + "\n", encoding="ascii")
    name = name or "production"
    if name not in _MODULES:
        raise SystemExit(f"NEXUS_ENV is {name!r}; it must be one of {', '.join(ENVIRONMENTS)}.")
    return name


def settings_module(argv: Sequence[str] = ()) -> str:
    return _MODULES[environment_name(argv)]

"""The two database aliases, for either database."""

from typing import Any

import environ

# A render reads service and umbrella in one view of the database; it never writes.
READER = "reader"

_SQLITE_OPTIONS = {
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA busy_timeout=20000;"
    "PRAGMA secure_delete=ON;",
}


def databases(url: str) -> dict[str, dict[str, Any]]:
    """`default` for everything that writes, `reader` for snapshot reads.

    SQLite begins every transaction of `default` as a writer: under its own default (DEFERRED) two
    transactions that read first and write later end in "database is locked". The reader stays
    DEFERRED, so that renders never wait for a writer.
    """
    default: dict[str, Any] = dict(environ.Env.db_url_config(url))
    reader = dict(default)
    if default["ENGINE"].endswith("sqlite3"):
        default["OPTIONS"] = {**_SQLITE_OPTIONS, "transaction_mode": "IMMEDIATE"}
        reader["OPTIONS"] = {**_SQLITE_OPTIONS, "transaction_mode": "DEFERRED"}
    else:
        options = dict(default.get("OPTIONS", {}))
        # Half a minute without an answer is a database that is gone; a write then fails whole.
        options.setdefault("connect_timeout", 5)
        default["OPTIONS"] = options
        reader["OPTIONS"] = {
            **options,
            "options": "-c default_transaction_isolation=repeatable\\ read"
            " -c default_transaction_read_only=on",
        }
    for alias in (default, reader):
        alias["CONN_MAX_AGE"] = 600
        alias["CONN_HEALTH_CHECKS"] = True
    reader["TEST"] = {"MIRROR": "default"}
    return {"default": default, READER: reader}

"""What was overwritten is gone from SQLite's files too, not from its tables alone."""

from django.db import connection, transaction


def erase_on_commit() -> None:
    """Empty SQLite's write-ahead log once this transaction committed.

    Pages are overwritten at once (`secure_delete`), but their former content also stands in the log
    until it is truncated. PostgreSQL keeps former rows until it vacuums, and its log until it is
    recycled: docs/operating.md says so.
    """
    if connection.vendor == "sqlite":
        transaction.on_commit(_truncate_write_ahead_log, robust=True)


def _truncate_write_ahead_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

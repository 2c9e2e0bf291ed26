"""What the database itself refuses: changes of immutable columns, and of append-only rows.

All triggers are declared here. They are reinstalled after every migrate, because SQLite drops a
table's triggers when a migration rebuilds it; `doctor` checks that they are there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

_PREFIX = "nexus_guard_"


@dataclass(frozen=True, slots=True)
class Guard:
    """One rule on one table. `forbidden` is a condition over OLD and NEW; empty means always."""

    name: str
    table: str
    event: str  # UPDATE, DELETE, INSERT; TRUNCATE on PostgreSQL alone
    forbidden: str
    message: str

    @property
    def trigger(self) -> str:
        return f"{_PREFIX}{self.table}_{self.name}"


def _immutable(table: str, *columns: str) -> Guard:
    changed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)
    return Guard("immutable", table, "UPDATE", changed, f"{', '.join(columns)} cannot change")


def _never(table: str, event: str, message: str) -> Guard:
    return Guard(event.lower(), table, event, "", message)


GUARDS: tuple[Guard, ...] = (
    _immutable("services_service", "id", "kind", "environment", "project_id", "is_umbrella"),
    _immutable("tenancy_user", "id", "is_service_account"),
    _immutable("tenancy_serviceaccount", "id", "tenant_id", "user_id"),
    _immutable("projects_project", "id", "tenant_id"),
    _immutable("core_datakey", "id", "tenant_id", "project_id"),
    _immutable("core_serverkey", "id", "purpose", "version"),
    _immutable("services_apikey", "id", "service_id", "digest", "scopes"),
    _immutable("services_workloadidentity", "id", "service_id", "provider"),
    _immutable("vault_secret", "id", "service_id"),
    _immutable("vault_config", "id", "service_id"),
    _immutable("flags_flag", "id", "service_id", "key"),
    _immutable("vault_secretversion", "id", "secret_id", "version", "type", "created_at"),
    _immutable("vault_configversion", "id", "config_id", "version", "type", "created_at"),
    _immutable("audit_auditchain", "id", "scope", "tenant_id", "project_id"),
    Guard(
        "forward",
        "audit_auditchain",
        "UPDATE",
        "NEW.head_sequence < OLD.head_sequence OR NEW.pruned_through < OLD.pruned_through"
        " OR NEW.pruned_through > NEW.head_sequence",
        "an audit chain only grows",
    ),
    _never("audit_auditchain", "DELETE", "an audit chain is never deleted"),
    _never("audit_auditevent", "UPDATE", "audit events cannot change"),
    Guard(
        "delete",
        "audit_auditevent",
        "DELETE",
        "OLD.sequence > (SELECT pruned_through FROM audit_auditchain WHERE id = OLD.chain_id)",
        "audit events leave by a prune only",
    ),
    _never("audit_auditevent", "TRUNCATE", "audit events leave by a prune only"),
    _never("audit_auditchain", "TRUNCATE", "an audit chain is never deleted"),
    _never("core_change", "UPDATE", "changes cannot change"),
)


def guards_of(connection: BaseDatabaseWrapper) -> list[Guard]:
    """The guards whose tables exist: migrations of a test or an older state may lack some."""
    tables = set(connection.introspection.table_names())
    return [
        guard
        for guard in GUARDS
        if guard.table in tables and (guard.event != "TRUNCATE" or connection.vendor == "postgresql")
    ]


def _install(connection: BaseDatabaseWrapper, guard: Guard) -> Iterator[str]:
    if connection.vendor == "postgresql":
        yield f"""
            CREATE OR REPLACE FUNCTION {guard.trigger}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '{guard.table}: {guard.message}'
                    USING ERRCODE = 'integrity_constraint_violation';
            END $$"""
        yield f"DROP TRIGGER IF EXISTS {guard.trigger} ON {guard.table}"
        if guard.event == "TRUNCATE":
            level, condition, body = "STATEMENT", "", ""
        elif "SELECT" in guard.forbidden:
            # WHEN takes no subquery in PostgreSQL, so this condition moves into the function.
            level, condition, body = "ROW", "", guard.forbidden
        else:
            level, condition, body = "ROW", f"WHEN ({guard.forbidden})" if guard.forbidden else "", ""
        if body:
            yield f"""
                CREATE OR REPLACE FUNCTION {guard.trigger}() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF {body} THEN
                        RAISE EXCEPTION '{guard.table}: {guard.message}'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN {"OLD" if guard.event == "DELETE" else "NEW"};
                END $$"""
        yield (
            f"CREATE TRIGGER {guard.trigger} BEFORE {guard.event} ON {guard.table} "
            f"FOR EACH {level} {condition} EXECUTE FUNCTION {guard.trigger}()"
        )
    else:
        condition = guard.forbidden.replace("IS DISTINCT FROM", "IS NOT")
        yield f"DROP TRIGGER IF EXISTS {guard.trigger}"
        yield (
            f"CREATE TRIGGER {guard.trigger} BEFORE {guard.event} ON {guard.table} FOR EACH ROW "
            + (f"WHEN {condition} " if condition else "")
            + f"BEGIN SELECT RAISE(ABORT, '{guard.table}: {guard.message}'); END"
        )


def install(using: str = DEFAULT_DB_ALIAS) -> None:
    """Put every guard in place, replacing what stands under its name."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for guard in guards_of(connection):
            for statement in _install(connection, guard):
                cursor.execute(statement)


def remove(using: str = DEFAULT_DB_ALIAS) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        for guard in guards_of(connection):
            on = f" ON {guard.table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {guard.trigger}{on}")


@contextmanager
def lifted(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Take the guards away for the time of a block: emptying a test database needs it."""
    remove(using)
    try:
        yield
    finally:
        install(using)


def missing(using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Names of guards that should stand in the database and do not."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Enabled in the ordinary way ('O') or always ('A'); a disabled guard guards nothing.
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        present = {row[0] for row in cursor.fetchall()}
    return sorted(guard.trigger for guard in guards_of(connection) if guard.trigger not in present)


def reinstall(*, using: str, **signal: Any) -> None:
    """After each app's migrations: installing twice costs little, missing a rebuild would cost much."""
    install(using)

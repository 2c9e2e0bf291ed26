"""What rows must say of each other and for themselves, beyond types and references."""

from typing import Any
from uuid import UUID

from apps.core import strict_json
from apps.core.access import ProjectRole, TenantRole
from apps.core.errors import NexusError
from apps.core.names import is_entry_key, is_slug
from apps.flags.definition import InvalidDefinition, parse_definition
from apps.services.models import Kind
from apps.vault.values import config_json
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.tables import USER, Table

Row = dict[str, Any]


class Rules:
    """Looks at each row once, in the archive's order: people come before what names them.

    Raises ArchiveIsDamaged, naming table and row and no value, for what no operation would have written.
    """

    def __init__(self) -> None:
        self._bodies: set[UUID] = set()
        # Bodies of automation whose account has not come yet.
        self._waiting: set[UUID] = set()
        # What of a service never changes: project, environment, kind; of umbrellas apart.
        self._kinds: dict[UUID, str] = {}
        self._umbrellas: dict[UUID, tuple[UUID, str, str]] = {}

    def add(self, table: Table, row: Row) -> None:
        self._require_of_others(table, row)
        _require(_is_sound(table, row), table, row)

    def _require_of_others(self, table: Table, row: Row) -> None:
        match table.label:
            case "tenancy.User":
                if row["is_service_account"]:
                    self._bodies.add(row["id"])
                    self._waiting.add(row["id"])
            case "tenancy.ServiceAccount":
                # Whoever owns the tenant issues tokens as its accounts: none of them may be a person.
                _require(row["user_id"] in self._waiting, table, row)
                self._waiting.remove(row["user_id"])
            case "tenancy.TenantMember":
                is_member = row["role"] == TenantRole.MEMBER
                _require(is_member or row["user_id"] not in self._bodies, table, row)
            case "projects.ProjectMember":
                is_owner = row["role"] == ProjectRole.OWNER
                _require(not is_owner or row["user_id"] not in self._bodies, table, row)
            case "services.Service":
                self._add_service(table, row)
            case "vault.Secret":
                _require(self._kinds.get(row["service_id"]) == Kind.BACKEND, table, row)

    def _add_service(self, table: Table, row: Row) -> None:
        what = (row["project_id"], row["environment"], row["kind"])
        umbrella_id = row["umbrella_id"]
        if umbrella_id is not None:
            # Umbrellas stand first: an archive that has one later was not written by us.
            _require(not row["is_umbrella"] and self._umbrellas.get(umbrella_id) == what, table, row)
        elif row["is_umbrella"]:
            self._umbrellas[row["id"]] = what
        self._kinds[row["id"]] = row["kind"]

    def require_whole(self) -> None:
        if self._waiting:
            raise ArchiveIsDamaged(f"The row {min(self._waiting)} of {USER} is automation of no account.")


def _is_sound(table: Table, row: Row) -> bool:
    """Whether a write would have taken what the row says for itself."""
    match table.label:
        case "tenancy.Tenant":
            return is_slug(row["slug"])
        case "projects.Project":
            return is_slug(row["slug"]) and _are_slugs(row["environments"])
        case "tenancy.ServiceAccount":
            return is_slug(row["name"])
        case "services.Service":
            return is_slug(row["slug"]) and is_slug(row["environment"])
        case "vault.Secret" | "vault.Config":
            return is_entry_key(row["key"])
        case "services.EntryReference":
            return is_entry_key(row["target_key"])
        case "vault.ConfigVersion":
            return _is_config_version(row)
        case "flags.Flag":
            return is_entry_key(row["key"]) and _is_flag(row)
    return True


def _are_slugs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and is_slug(each) for each in value)


def _is_config_version(row: Row) -> bool:
    if row["destroyed_at"] is not None:
        return bool(row["value_json"] == "")
    try:
        # Byte for byte: what is stored is what a write makes of the value.
        text: str = row["value_json"]
        return config_json(row["type"], strict_json.loads(text)) == text
    except NexusError:
        return False


def _is_flag(row: Row) -> bool:
    """Whether the definition is one, and the columns for lists and filters repeat it."""
    try:
        definition = parse_definition(strict_json.loads(row["definition"]), key=row["key"])
    except (NexusError, InvalidDefinition):
        return False
    return (definition.type, definition.enabled, definition.starts_at, definition.ends_at) == (
        row["type"],
        row["enabled"],
        row["starts_at"],
        row["ends_at"],
    )


def _require(is_so: bool, table: Table, row: Row) -> None:
    if not is_so:
        raise ArchiveIsDamaged(f"The row {row['id']} of {table.label} is none that could have been written.")

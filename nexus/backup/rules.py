"""What rows must say of each other and for themselves, beyond types and references."""

from typing import Any
from uuid import UUID

from apps.core.access import ProjectRole, TenantRole
from apps.services.models import Kind
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


def _require(is_so: bool, table: Table, row: Row) -> None:
    if not is_so:
        raise ArchiveIsDamaged(f"The row {row['id']} of {table.label} is none that could have been written.")

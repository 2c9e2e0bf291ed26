"""Bring one tenant into an installation where others live, and perhaps the tenant itself.

Where both know a row, the living one stays as it is. What was removed here stays away, and nobody
gets a right back: members, grants, keys and add-ons come only with a project or service that this
restore itself brings; what a foreign archive brings to a project that is here has none at all.
"""

import secrets
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.audit.operations import record
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce, bump
from apps.core.errors import AlreadyExists, Conflict
from apps.core.ids import uuid7
from apps.core.models import DataKey, KeyState
from apps.projects import holdings
from apps.projects.models import Project
from apps.projects.tiers import TIERS
from apps.services.models import Service
from apps.tenancy.models import Tenant, TenantMember, User
from nexus.backup.checking import Content, rows_again
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsInTheWay
from nexus.backup.memory import require_remembered
from nexus.backup.outcome import Fate, Restored, adopt_key
from nexus.backup.rules import Row
from nexus.backup.tables import USER, Table
from nexus.backup.watching import Watch
from nexus.backup.writing import TableWriter, require_references

# What an event of the tenant says is gone; later events may have brought it back, and then it is here.
_REMOVAL_WORDS = frozenset({"deleted", "purged", "removed", "revoked", "deactivated", "distrusted"})
REMOVALS = tuple(action.value for action in Action if action.value.rpartition(".")[2] in _REMOVAL_WORDS)
# What entries belong to decides what they may be.
_NEVER_CHANGES = {"services.Service": ("environment", "kind", "is_umbrella")}
_NO_PEPPER = UUID(int=0)


class Here(Enum):
    """What a row is to those that belong to it."""

    ADDED = auto()
    # Was here before: only tables that join may add to it.
    LIVING = auto()
    # Deleted here, or left out: nothing is added to it.
    CLOSED = auto()


class _Verdict(NamedTuple):
    """On one row: what it is to others, whether it is written, and whether it was here."""

    here: Here
    is_written: bool = False
    is_present: bool = False


_ADDED = _Verdict(Here.ADDED, is_written=True)
_LEFT_OUT = _Verdict(Here.CLOSED)


@transaction.atomic
def merge_tenant(
    *,
    actor: Actor,
    tenant_id: UUID,
    archive: ArchiveReader,
    content: Content,
    restored: Restored,
    watch: Watch,
) -> None:
    """Add what the tenant's archive holds and this database neither has nor removed.

    Raises ArchiveIsInTheWay when an id of the archive belongs to something else here, AlreadyExists
    when another tenant has the slug, Conflict where the tenant is deleted here or a tier's caps would
    be passed, and IntegrityError or DataError for rows that do not fit together.
    """
    merge = _Merge(tenant_id, archive, content, restored)
    on_rows = watch(content.rows)
    for table, row in rows_again(archive, content):
        merge.take(table, row)
        on_rows(1)
    merge.finish()
    tenant = Tenant.objects.get(pk=merge.tenant_id)
    # Counted after the rows are in, under the locks of the projects that were here before.
    for project in Project.objects.filter(pk__in=merge.touched_projects):
        blockers = holdings.in_the_way(project.pk, TIERS[project.tier])
        if blockers:
            raise Conflict(f"{project} would hold more than its tier allows: {'; '.join(blockers)}.")
    for user in merge.new_people:
        record(
            actor=actor,
            action=Action.OPERATOR_CREATED,
            target=user.audit_target(),
            changes={"email": [None, user.email], "is_superuser": [None, False]},
        )
    record(
        actor=actor,
        action=Action.BACKUP_RESTORED,
        target=tenant.audit_target(),
        changes={
            "archive": str(restored.archive_id),
            "sha256": archive.digest.hex(),
            "added": restored.total("added"),
            "present": restored.total("present"),
            "left_out": restored.total("left_out"),
            "unlinked": restored.total("unlinked"),
            "foreign": restored.is_foreign,
        },
    )
    for service in Service.objects.filter(pk__in=merge.touched_services).order_by("pk"):
        bump(origin=service, services=service.readers(), event=ChangeEvent.SERVICE_UPDATED)
    announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=tenant.pk)


class _Merge:
    """Decides of each row, in the archive's order: what it belongs to was decided before it."""

    def __init__(self, tenant_id: UUID, archive: ArchiveReader, content: Content, restored: Restored) -> None:
        self.tenant_id, self._archive = tenant_id, archive
        self._content, self._restored = content, restored
        self._now = timezone.now()
        self._here: dict[tuple[str, Any], Here] = {}
        self._writers: dict[str, TableWriter] = {}
        self._dead_secrets: set[UUID] = set()
        # Services that come into a project that was here before.
        self._joining: set[UUID] = set()
        self._known_of, self._known_rows = "", dict[Any, dict[str, Any]]()
        self.touched_projects: set[UUID] = set()
        self.touched_services: set[UUID] = set()
        self._is_living = self._lock()
        members = TenantMember.objects.filter(tenant_id=self.tenant_id).values_list("user_id", flat=True)
        self._people = _People(set(members) if self._is_living else None)
        self._removed = self._removed_ids() if self._is_living else frozenset()

    @property
    def new_people(self) -> list[User]:
        return self._people.made

    def _lock(self) -> bool:
        """Hold the tenant and its projects, as far as they are here."""
        tenant = Tenant.objects.select_for_update(no_key=True).filter(pk=self.tenant_id).first()
        if tenant is None:
            slug = self._content.tenant_slug
            if Tenant.objects.filter(slug=slug).exists():
                raise AlreadyExists(f"Another tenant {slug} is here. Two cannot have one slug.")
            return False
        if tenant.deleted_at is not None:
            raise Conflict(f"The tenant {tenant.slug} was deleted here. Restore it first, then its archive.")
        projects = Project.objects.select_for_update(no_key=True).filter(tenant_id=self.tenant_id)
        require_remembered(self._archive.header.created_at, tenant, list(projects.order_by("pk")))
        return True

    def _removed_ids(self) -> frozenset[str]:
        """Ids of what was removed from the living tenant, as far as its events and keys still tell."""
        events = AuditEvent.objects.filter(tenant_id=self.tenant_id, action__in=REMOVALS)
        found = set(events.exclude(object_id="").values_list("object_id", flat=True).iterator(2000))
        # A purged project's key is destroyed, and its row outlives the events.
        keys = DataKey.objects.filter(tenant_id=self.tenant_id, state=KeyState.DESTROYED)
        return frozenset(found | {str(pk) for pk in keys.values_list("project_id", flat=True)})

    def take(self, table: Table, row: Row) -> None:
        if table.label == USER:
            self._people.note(row)
            return
        fate = self._restored.tables.setdefault(table.label, Fate())
        verdict = self._judge(table, row)
        if verdict.is_written and not self._name_people(table, row):
            verdict = _LEFT_OUT
        self._here[table.label, row["id"]] = verdict.here
        if verdict.is_written:
            fate.added += 1
            self._add(table, row)
        elif verdict.is_present:
            fate.present += 1
        else:
            fate.left_out += 1

    def _judge(self, table: Table, row: Row) -> _Verdict:
        parents = [
            self._parent(row[column], labels)
            for column, labels in table.parents.items()
            if row[column] is not None
        ]
        found = self._known(table).get(row["id"])
        if found is not None:
            return self._meet(table, row, found, parents)
        if Here.CLOSED in parents or (Here.LIVING in parents and not table.joins):
            return _LEFT_OUT
        if table.gives_rights and self._restored.is_foreign and self._joins_living(table, row):
            return _LEFT_OUT
        if table.label == "services.EntryReference" and self._source(row) is not Here.ADDED:
            return _LEFT_OUT
        if Here.LIVING in parents and (str(row["id"]) in self._removed or _is_taken(table, row)):
            return _LEFT_OUT
        if row["id"] in self._dead_secrets and table.label == "vault.Secret":
            return _LEFT_OUT
        if table.model is DataKey and Here.LIVING in parents:
            # The project has a current key here; this one opens what it sealed, no more.
            row["state"] = KeyState.RETIRING
        if table.model is Service:
            self._settle(row)
        return _ADDED

    def _joins_living(self, table: Table, row: Row) -> bool:
        return any(row[column] in self._joining for column in table.parents)

    def _settle(self, row: Row) -> None:
        """A service that comes reads nothing that is here: linking it is for people with the right to."""
        if self._parent(row["project_id"], ("projects.Project",)) is Here.LIVING:
            self._joining.add(row["id"])
        umbrella_id = row["umbrella_id"]
        if umbrella_id is not None and self._parent(umbrella_id, ("services.Service",)) is Here.LIVING:
            row["umbrella_id"] = None
            self._restored.tables["services.Service"].unlinked += 1

    def _meet(self, table: Table, row: Row, found: dict[str, Any], parents: list[Here]) -> _Verdict:
        """The archive's row has the id of one that is here."""
        # A living service may have got another umbrella since; what else it belongs to never changes.
        fixed = [column for column in table.parents if column != "umbrella_id"]
        fixed += _NEVER_CHANGES.get(table.label, ())
        if any(found[column] != row[column] for column in fixed):
            raise ArchiveIsInTheWay(f"{table.label} {row['id']} belongs to something else here.")
        if table.model is not DataKey:
            return _Verdict(Here.CLOSED if found.get("deleted_at") else Here.LIVING, is_present=True)
        is_destroyed = found["state"] == KeyState.DESTROYED
        if Here.ADDED in parents and is_destroyed:
            # The whole tenant was purged, key and all, and comes back with it.
            DataKey.objects.filter(pk=row["id"]).delete()
            return _ADDED
        if is_destroyed:
            self._dead_secrets |= self._content.secrets_of_key.get(row["id"], set())
        return _Verdict(Here.CLOSED if is_destroyed else Here.LIVING, is_present=True)

    def _known(self, table: Table) -> dict[Any, dict[str, Any]]:
        """The tenant's rows of `table` that are here, by id: what they belong to and whether they live.

        An id that another tenant's row has is not among them; the database refuses it as taken.
        """
        if self._known_of != table.label:
            names = {each.attname for each in table.model._meta.concrete_fields}
            never = _NEVER_CHANGES.get(table.label, ())
            columns = {"id", *table.parents, *never, *(names & {"deleted_at", "state"})}
            rows = table.model._base_manager.filter(**{table.tenant: self.tenant_id})
            numbered = _is_numbered(table)
            self._known_of = table.label
            self._known_rows = {} if numbered else {each["id"]: each for each in rows.values(*columns)}
        return self._known_rows

    def _parent(self, pk: Any, labels: Iterable[str]) -> Here:
        return next((self._here[label, pk] for label in labels if (label, pk) in self._here), Here.CLOSED)

    def _source(self, row: Row) -> Here:
        # References follow the text of an entry: they come with it, or are here with it.
        return self._parent(row["source_id"], ("vault.Config", "vault.Secret", "flags.Flag"))

    def _name_people(self, table: Table, row: Row) -> bool:
        """Put people of this installation into the row. False if one that it needs does not come."""
        for each in table.model._meta.concrete_fields:
            column = each.attname
            if each.related_model is not User or row.get(column) is None:
                continue
            if table.label == "tenancy.ServiceAccount":
                row[column] = self._people.body(row[column])
                continue
            # Who merely gave a grant gets no account for it.
            row[column] = self._people.here(row[column], may_be_made=not each.null)
            if row[column] is None and not each.null:
                return False
        return True

    def _add(self, table: Table, row: Row) -> None:
        adopt_key(table, row, self._archive)
        if table.label == "services.ApiKey":
            # No text has this digest. The row says that there was a key, and that it is over.
            row |= {"digest": secrets.token_bytes(32), "pepper_id": _NO_PEPPER, "mac": bytes(32)}
            row["revoked_at"] = row["revoked_at"] or self._now
        elif table.label == "services.WorkloadIdentity" and not self._restored.credentials_kept:
            row["disabled_at"] = row["disabled_at"] or self._now
        if table.model is Project:
            self.touched_projects.add(row["id"])
        elif "project_id" in row:
            self.touched_projects.add(row["project_id"])
        elif table.joins and "service_id" in row:
            self.touched_services.add(row["service_id"])
        writer = self._writers.get(table.label)
        if writer is None:
            columns = [name for name in row if name != "id" or not _is_numbered(table)]
            writer = self._writers[table.label] = TableWriter(table.model, columns)
        writer.add(row)

    def finish(self) -> None:
        """Write what waits, and check that everything that a row names is there."""
        known_people = self._people.count_here()
        self._people.write()
        for writer in self._writers.values():
            writer.end()
        require_references()
        fate = self._restored.tables.setdefault(USER, Fate())
        fate.added, fate.present = len(self._people.made), known_people
        fate.left_out = self._content.counts[USER] - fate.added - fate.present
        touched = Service.objects.filter(pk__in=self.touched_services)
        self.touched_projects |= set(touched.values_list("project_id", flat=True))


def _is_numbered(table: Table) -> bool:
    """Whether the database numbers the rows: such a number means nothing elsewhere."""
    return isinstance(table.model._meta.pk, models.AutoField)


def _is_taken(table: Table, row: Row) -> bool:
    """Whether another row here has the name of this one, which is unique."""
    for constraint in table.model._meta.total_unique_constraints:
        by_name = {table.model._meta.get_field(name).attname: name for name in constraint.fields}  # type: ignore[union-attr]
        if table.model._base_manager.filter(**{column: row[column] for column in by_name}).exists():
            return True
    return False


class _People:
    """Who the archive's people are here: by address, or made anew without anything that lets them in.

    Somebody is made only when a row that comes names them, and in a living tenant nobody is:
    `members` are those who belong to it now, and who was removed from it gets no role in what comes.
    """

    def __init__(self, members: set[UUID] | None) -> None:
        self._members = members
        self._archived: dict[UUID, Row] = {}
        self._here: dict[UUID, UUID | None] = {}
        self.made: list[User] = []

    def note(self, row: Row) -> None:
        self._archived[row["id"]] = row

    def here(self, pk: UUID, *, may_be_made: bool) -> UUID | None:
        """The id that the archive's person `pk` has here; None for one who is not here and stays away."""
        if pk not in self._here:
            row = self._archived[pk]
            if self._members is not None:
                found = self._known(row)
                self._here[pk] = found if found in self._members else None
            elif not may_be_made:
                return self._known(row)
            else:
                self._here[pk] = self._account(row) if row["is_service_account"] else self._person(row)
        return self._here[pk]

    def body(self, pk: UUID) -> UUID:
        """The new body of an account that comes. Nobody who is here ever becomes one."""
        row = self._archived[pk]
        if not row["is_service_account"] or self._members is not None:
            raise ArchiveIsDamaged(f"The row {pk} of {USER} is not the body of an account.")
        found = self._here.get(pk) or self._account(row)
        self._here[pk] = found
        return found

    def _known(self, row: Row) -> UUID | None:
        """Automation is known by its id: its address is nobody's, and could be made up."""
        same = {"id": row["id"]} if row["is_service_account"] else {"email": row["email"]}
        found = User.objects.filter(is_service_account=row["is_service_account"], **same)
        return found.values_list("pk", flat=True).first()

    def count_here(self) -> int:
        """How many of the archive's people were here before."""
        emails = [row["email"] for row in self._archived.values()]
        made = {user.email for user in self.made}
        return sum(
            User.objects.filter(email__in=set(emails[at : at + 500]) - made).count()
            for at in range(0, len(emails), 500)
        )

    def _person(self, row: Row) -> UUID:
        found = User.objects.filter(email=row["email"]).first()
        if found is None:
            return self._make(row, uuid7() if User.objects.filter(pk=row["id"]).exists() else row["id"])
        if found.is_service_account:
            raise ArchiveIsInTheWay(f"{row['email']} is a person in the archive, and automation here.")
        return found.pk

    def _account(self, row: Row) -> UUID:
        """The body of automation is always made: a person's account never becomes one."""
        if User.objects.filter(Q(pk=row["id"]) | Q(email=row["email"])).exists():
            raise ArchiveIsInTheWay(f"{row['email']} is automation in the archive, and taken here.")
        return self._make(row, row["id"])

    def _make(self, row: Row, pk: UUID) -> UUID:
        self.made.append(
            User(
                id=pk,
                email=row["email"],
                name=row["name"],
                is_active=row["is_active"],
                is_service_account=row["is_service_account"],
                password=make_password(None),
                must_change_password=not row["is_service_account"],
            )
        )
        return pk

    def write(self) -> None:
        User.objects.bulk_create(self.made)

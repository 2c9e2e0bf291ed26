"""What becomes of a whole project: edited in one piece, deleted softly, restored."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import Conflict, NotFound, VersionConflict
from apps.projects.models import Project, ProjectQuerySet
from apps.projects.operations import change_project, change_tier, require_tier
from apps.projects.tiers import TIERS

# SPEC 4: so long the owners may restore it; then the hourly purge takes it.
RESTORABLE = timedelta(days=30)


def _locked_as_read(actor: Actor, project: Project, expected_row_version: int | None) -> Project:
    found = Project.objects.locked(project.pk, actor=actor)
    if expected_row_version is not None and found.row_version != expected_row_version:
        raise VersionConflict
    return found


@transaction.atomic
def edit_project(
    *,
    actor: Actor,
    project: Project,
    name: str | None = None,
    environments: Sequence[str] | None = None,
    tier: str | None = None,
    expected_row_version: int | None = None,
) -> Project:
    """Change what is given of name, environments and tier, all or nothing.

    A larger tier comes before the environments and a smaller one after them, so that one edit may
    widen or narrow both. Raises VersionConflict, and what `change_project` and `change_tier` raise.
    """
    if name is not None or environments is not None:
        require(actor, "project:change", project)
    if tier is not None:
        require(actor, "project:change_tier", project)
    project = _locked_as_read(actor, project, expected_row_version)
    ranks = list(TIERS)
    shrinks = tier is not None and ranks.index(require_tier(tier).name) < ranks.index(project.tier)
    if tier is not None and not shrinks:
        project = change_tier(actor=actor, project=project, tier=tier)
    if name is not None or environments is not None:
        project = change_project(
            actor=actor,
            project=project,
            name=project.name if name is None else name,
            environments=project.environments if environments is None else environments,
        )
    if tier is not None and shrinks:
        project = change_tier(actor=actor, project=project, tier=tier)
    return project


@transaction.atomic
def delete_project(*, actor: Actor, project: Project, expected_row_version: int | None = None) -> Project:
    """Delete softly: all keys die at once, the slug stays reserved, restorable for 30 days.

    Raises NotPermitted, and VersionConflict.
    """
    require(actor, "project:delete", project)
    project = _locked_as_read(actor, project, expected_row_version)
    project.deleted_at = timezone.now()
    project.purge_after = project.deleted_at + RESTORABLE
    project.save(update_fields=["deleted_at", "purge_after"])
    record(
        actor=actor,
        action=Action.PROJECT_DELETED,
        target=project.audit_target(),
        changes={"deleted": [False, True], "purge_after": [None, project.purge_after.isoformat()]},
    )
    announce(event=ChangeEvent.PROJECT_CHANGED, project_id=project.pk, tenant_id=project.tenant_id)
    return project


@transaction.atomic
def restore_project(*, actor: Actor, project: Project) -> Project:
    """Take a soft deletion back: what was in the project serves again as before.

    Raises Conflict when it is not deleted, when its time is over, and while its tenant is deleted.
    """
    require(actor, "project:delete", project, deleted=True)
    rows = Project.objects.select_for_update(of=("self",), no_key=True).select_related("tenant")
    found = rows.filter(pk=project.pk).first()
    if found is None:
        raise NotFound
    if found.deleted_at is None or found.purge_after is None:
        raise Conflict("The project is not deleted.")
    if found.tenant.deleted_at is not None:
        raise Conflict("Its tenant is deleted. Restore that first.")
    if found.purge_after <= timezone.now():
        raise Conflict("The 30 days in which it could be restored are over.")
    found.deleted_at = found.purge_after = None
    found.save(update_fields=["deleted_at", "purge_after"])
    record(
        actor=actor,
        action=Action.PROJECT_RESTORED,
        target=found.audit_target(),
        changes={"deleted": [True, False]},
    )
    announce(event=ChangeEvent.PROJECT_CHANGED, project_id=found.pk, tenant_id=found.tenant_id)
    return found


def restorable_by(actor: Actor) -> ProjectQuerySet:
    """The softly deleted projects that `actor` could restore now."""
    rows = Project.objects.visible_to(actor, "project:delete", deleted=True)
    return rows.filter(tenant__deleted_at=None, purge_after__gt=timezone.now())

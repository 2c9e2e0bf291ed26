"""Make projects, size them, and say who works in them."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import keys
from apps.core.access import ProjectRole, TenantRole, allows, require
from apps.core.actor import Actor, ActorType
from apps.core.changes import ChangeEvent, announce
from apps.core.errors import (
    AlreadyExists,
    DowngradeBlocked,
    InvalidInput,
    LastOwner,
    NotFound,
    NotPermitted,
    TierForbids,
    VersionConflict,
)
from apps.core.names import require_name, require_slug
from apps.projects import holdings
from apps.projects.memberships import refreshed
from apps.projects.models import AddOn, Project, ProjectGrant, ProjectMember
from apps.projects.staying import require_giver_stays
from apps.projects.tiers import TIERS, Tier
from apps.tenancy.models import Tenant, TenantMember, User
from apps.tenancy.operations import revoke_sent_invitations

# SPEC 2: after a downgrade the longer retention holds for so long.
RETENTION_GRACE = timedelta(days=7)
# From the most to the least; being lowered takes extra grants as being removed does.
_RANKS = list(ProjectRole)


def require_tier(name: str) -> Tier:
    if name not in TIERS:
        raise InvalidInput.of("tier", f"Choose one of {', '.join(TIERS)}.")
    return TIERS[name]


def _require_may_choose_tier(actor: Actor, target: Project | Tenant) -> None:
    if not settings.NEXUS_SELF_SERVICE_TIERS and not (
        actor.type is ActorType.COMMAND or (actor.type is ActorType.OPERATOR and actor.is_superuser)
    ):
        raise NotPermitted(
            "Tiers are changed by the operator of this installation. Ask them.",
            permission="project:change_tier",
            target=target,
        )


@transaction.atomic
def create_project(
    *,
    actor: Actor,
    tenant: Tenant,
    slug: str,
    name: str = "",
    tier: str = "free",
    add_ons: Sequence[str] = (),
    environments: Sequence[str] = (),
) -> Project:
    """Make a project with its data key.

    `environments` narrows what the tier allows. Raises AlreadyExists for a taken slug, TierForbids
    for an add-on or environment that the tier lacks.
    """
    require(actor, "project:create", tenant)
    require_slug(slug)
    limits = require_tier(tier)
    if tier != "free":
        _require_may_choose_tier(actor, tenant)
    name = require_name(name) if name else slug
    for environment in environments:
        require_slug(environment, field="environments")
        if not limits.has_environment(environment):
            raise TierForbids(f"The tier {tier} has no environment {environment}.")
    if Project.objects.filter(tenant=tenant, slug=slug).exists():
        raise AlreadyExists(
            f"{tenant.slug} has a project {slug} already, or one was deleted recently. Choose another slug."
        )
    project = Project.objects.create(
        tenant=tenant, slug=slug, name=name, tier=tier, environments=sorted(set(environments))
    )
    keys.create_data_key(tenant_id=tenant.pk, project_id=project.pk)
    record(
        actor=actor,
        action=Action.PROJECT_CREATED,
        target=project.audit_target(),
        changes={"slug": [None, slug], "name": [None, project.name], "tier": [None, tier]},
    )
    announce(event=ChangeEvent.PROJECT_CHANGED, project_id=project.pk, tenant_id=tenant.pk)
    for add_on in add_ons:
        activate_add_on(actor=actor, project=project, name=add_on, _new_project=True)
    return project


@transaction.atomic
def activate_add_on(
    *, actor: Actor, project: Project, name: str, must_be_new: bool = False, _new_project: bool = False
) -> AddOn:
    """Switch on an add-on.

    Raises TierForbids when the tier does not allow it, and AlreadyExists for an active one where
    `must_be_new` asks.
    """
    if not _new_project:
        require(actor, "project:change_tier", project)
    project = Project.objects.locked(project.pk, actor=actor)
    known = set().union(*(tier.add_ons for tier in TIERS.values()))
    if name not in known:
        raise InvalidInput.of("name", f"Choose one of {', '.join(sorted(known))}.")
    if name not in project.limits.add_ons:
        raise TierForbids(f"The tier {project.tier} does not allow the add-on {name}. Change the tier first.")
    add_on, created = AddOn.objects.get_or_create(project=project, name=name)
    if created:
        record(
            actor=actor,
            action=Action.ADD_ON_ACTIVATED,
            target=add_on.audit_target(),
            changes={"active": [False, True]},
        )
        announce(event=ChangeEvent.PROJECT_CHANGED, project_id=project.pk, tenant_id=project.tenant_id)
    elif must_be_new:
        raise AlreadyExists(f"The add-on {name} is active already.")
    return add_on


@transaction.atomic
def deactivate_add_on(*, actor: Actor, project: Project, name: str) -> None:
    """Switch off an add-on; what was made with it stays, and answers as SPEC 7 says without it.

    Raises NotFound when it is not active.
    """
    require(actor, "project:change_tier", project)
    project = Project.objects.locked(project.pk, actor=actor)
    add_on = AddOn.objects.filter(project=project, name=name).first()
    if add_on is None:
        raise NotFound(f"The project {project} has no add-on {name}.")
    add_on.project = project
    record(
        actor=actor,
        action=Action.ADD_ON_DEACTIVATED,
        target=add_on.audit_target(),
        changes={"active": [True, False]},
    )
    add_on.delete()
    announce(event=ChangeEvent.PROJECT_CHANGED, project_id=project.pk, tenant_id=project.tenant_id)


@transaction.atomic
def change_project(
    *,
    actor: Actor,
    project: Project,
    name: str,
    environments: Sequence[str],
    expected_row_version: int | None = None,
) -> Project:
    """Give the project a name and the environments it may have, within those of its tier.

    An empty list means all that the tier allows. Raises InvalidInput, TierForbids for an
    environment that the tier lacks or one that live services still need, and VersionConflict.
    """
    require(actor, "project:change", project)
    name = require_name(name)
    environments = sorted(set(environments))
    for environment in environments:
        require_slug(environment, field="environments")
    project = Project.objects.locked(project.pk, actor=actor)
    if expected_row_version is not None and project.row_version != expected_row_version:
        raise VersionConflict
    for environment in environments:
        if not project.limits.has_environment(environment):
            raise TierForbids(f"The tier {project.tier} has no environment {environment}.")
    needed = holdings.environments(project.pk) - set(environments) if environments else set()
    if needed:
        raise TierForbids(f"Services still stand in {', '.join(sorted(needed))}. Delete or keep them.")
    changes: dict[str, Any] = {}
    for field, value in (("name", name), ("environments", environments)):
        if getattr(project, field) != value:
            changes[field] = [getattr(project, field), value]
            setattr(project, field, value)
    if changes:
        project.save(update_fields=list(changes))
        record(actor=actor, action=Action.PROJECT_UPDATED, target=project.audit_target(), changes=changes)
    return project


@transaction.atomic
def change_tier(*, actor: Actor, project: Project, tier: str) -> Project:
    """Move the project to another tier; caps hold at once.

    Raises DowngradeBlocked with the list of what the smaller tier could not hold; nothing is
    deleted. After a downgrade the longer audit retention holds for 7 more days.
    """
    require(actor, "project:change_tier", project)
    _require_may_choose_tier(actor, project)
    limits = require_tier(tier)
    project = Project.objects.locked(project.pk, actor=actor)
    before = project.limits
    if before.name == tier:
        return project
    blockers = holdings.in_the_way(project.pk, limits)
    if blockers:
        raise DowngradeBlocked(
            f"The tier {tier} could not hold this project: {'; '.join(blockers)}.", blockers=blockers
        )
    fields = ["tier"]
    if limits.audit_retention_days < before.audit_retention_days:
        # A second downgrade within the grace keeps the longest that was promised.
        promised = project.retention_days_before or 0
        still = project.retention_days_before_until and project.retention_days_before_until > timezone.now()
        project.retention_days_before = max(before.audit_retention_days, promised if still else 0)
        project.retention_days_before_until = timezone.now() + RETENTION_GRACE
        fields += ["retention_days_before", "retention_days_before_until"]
    project.tier = tier
    project.save(update_fields=fields)
    record(
        actor=actor,
        action=Action.PROJECT_TIER_CHANGED,
        target=project.audit_target(),
        changes={"tier": [before.name, tier]},
    )
    announce(event=ChangeEvent.PROJECT_CHANGED, project_id=project.pk, tenant_id=project.tenant_id)
    return project


def require_may_give(actor: Actor, project: Project, role: ProjectRole) -> None:
    """Owners give every role; managers give roles up to developer (SPEC 3)."""
    require(actor, "member:manage", project)
    if role in (ProjectRole.OWNER, ProjectRole.MANAGER) and not allows(actor, "project:change", project):
        raise NotPermitted(
            f"Only an owner of the project gives or takes the role {role}.",
            permission="member:manage",
            target=project,
        )


@transaction.atomic
def set_project_member(*, actor: Actor, project: Project, user: User, role: ProjectRole) -> ProjectMember:
    """Give `user` the role in the project, whether or not they had one; they join the tenant as `member`.

    Being lowered takes their extra grants in the project and the invitations to it that they sent.
    Raises QuotaExceeded at the cap of members, LastOwner when the project would lose its last
    owner, NotPermitted for a role above what `actor` may give, for one's own, or for owner and manager
    by one whose own ownership ends.
    """
    require_may_give(actor, project, role)
    if actor.user_id == user.pk:
        raise NotPermitted("Nobody changes their own role.", permission="member:manage", target=project)
    if user.is_service_account:
        _require_fitting_account(project, user, role)
    project = Project.objects.locked(project.pk, actor=actor)
    # The role of the giver may have been taken while the lock was waited for.
    giver = refreshed(actor)
    require_may_give(giver, project, role)
    require_giver_stays(giver, project, role)
    member = ProjectMember.objects.filter(project=project, user=user).first()
    if member is None:
        return admit(actor=actor, project=project, user=user, role=role)
    before = ProjectRole(member.role)
    if before == role and member.ends_at is None:
        return member
    require_may_give(giver, project, before)
    if before == ProjectRole.OWNER and role != ProjectRole.OWNER:
        _require_another_owner(project, member)
    member.role, member.ends_at = role, None
    member.save(update_fields=["role", "ends_at"])
    if _RANKS.index(role) > _RANKS.index(before):
        _take_what_hangs_on_a_role(actor, project, user)
    record(
        actor=actor,
        action=Action.PROJECT_MEMBER_ROLE_CHANGED,
        target=member.audit_target(),
        changes={"role": [before, role]},
    )
    return member


def admit(
    *,
    actor: Actor,
    project: Project,
    user: User,
    role: ProjectRole,
    tenant_role: TenantRole = TenantRole.MEMBER,
) -> ProjectMember:
    """Let in somebody without a role in the project; where they are not in the tenant, there as well.

    The caller asked the rights and holds the project's lock, so that the cap of members is exact.
    Raises QuotaExceeded.
    """
    membership, joined = TenantMember.objects.get_or_create(
        tenant=project.tenant, user=user, defaults={"role": tenant_role}
    )
    if membership.ends_at is not None and membership.ends_at <= timezone.now():
        # What is left of a break-glass that is over; from here on they belong to the tenant.
        membership.role, membership.ends_at, joined = tenant_role, None, True
        membership.save(update_fields=["role", "ends_at"])
    if membership.role != TenantRole.OWNER:
        holdings.require_place("members", project_id=project.pk, tier_name=project.tier)
    member = ProjectMember.objects.create(project=project, user=user, role=role)
    record(
        actor=actor,
        action=Action.PROJECT_MEMBER_ADDED,
        target=member.audit_target(),
        changes={"role": [None, role]},
    )
    if joined and tenant_role != TenantRole.MEMBER:
        # Being a plain member says nothing beside the role in the project; these do.
        record(
            actor=actor,
            action=Action.TENANT_MEMBER_ADDED,
            target=membership.audit_target(),
            changes={"role": [None, tenant_role]},
        )
    return member


def _require_fitting_account(project: Project, user: User, role: ProjectRole) -> None:
    """A service account works in projects of its own tenant, and owns none: owners are people."""
    if user.service_account.tenant_id != project.tenant_id:
        raise NotFound(f"There is no operator {user.email}. Make one with create_operator first.")
    if role == ProjectRole.OWNER:
        raise InvalidInput.of("role", "A service account owns nothing; give it a role up to manager.")


def _require_another_owner(project: Project, member: ProjectMember) -> None:
    # The caller holds the project's lock, so that two cannot remove each other at once. A
    # membership that ends by itself does not keep a project owned.
    others = ProjectMember.objects.filter(
        project=project, role=ProjectRole.OWNER, ends_at=None, user__is_active=True
    )
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner(
            f"{member.user.email} is the last owner of {project}. Make somebody else an owner first."
        )


def _take_what_hangs_on_a_role(actor: Actor, project: Project, user: User) -> None:
    """Extra grants in a project, and invitations to it, leave with the role that they were given by."""
    revoke_sent_invitations(actor=actor, user=user, tenant=project.tenant, project_id=project.pk)
    ProjectGrant.objects.filter(content_object=project, user=user).delete()
    holdings.drop_grants(project.pk, user.pk)


@transaction.atomic
def remove_project_member(*, actor: Actor, project: Project, user: User) -> ProjectMember:
    """Take the person's role in the project, and with it their extra grants and sent invitations there.

    Raises NotFound when they have none, LastOwner for the last owner, NotPermitted for a role
    that `actor` could not give.
    """
    require(actor, "member:manage", project)
    project = Project.objects.locked(project.pk, actor=actor)
    member = (
        ProjectMember.objects.select_related("user", "project").filter(project=project, user=user).first()
    )
    if member is None:
        raise NotFound(f"{user.email} has no role in {project}.")
    require_may_give(actor, project, ProjectRole(member.role))
    if member.role == ProjectRole.OWNER:
        _require_another_owner(project, member)
    target, role, member_id = member.audit_target(), member.role, member.pk
    member.delete()
    _take_what_hangs_on_a_role(actor, project, user)
    record(actor=actor, action=Action.PROJECT_MEMBER_REMOVED, target=target, changes={"role": [role, None]})
    member.pk = member_id
    return member


def count_members(project_ids: Collection[UUID]) -> dict[UUID, int]:
    """People with a role in each project. Tenant owners need none and do not count."""
    owners = TenantMember.objects.holding().filter(
        tenant=OuterRef("project__tenant"), user=OuterRef("user"), role=TenantRole.OWNER
    )
    members = ProjectMember.objects.filter(~Exists(owners), project_id__in=project_ids)
    return dict(members.values_list("project_id").annotate(Count("pk")))


def environment_blockers(project_id: UUID, tier: Tier) -> Iterator[str]:
    """Add-ons and named environments of the project that `tier` lacks."""
    for name in AddOn.objects.filter(project_id=project_id).order_by("name").values_list("name", flat=True):
        if name not in tier.add_ons:
            yield f"the add-on {name}"
    project = Project.objects.get(pk=project_id)
    for environment in project.environments:
        if not tier.has_environment(environment):
            yield f"the environment {environment} in the project's list"

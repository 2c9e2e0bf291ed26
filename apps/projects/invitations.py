"""Ask addresses into a tenant and its projects, and let in those who accept.

Invitations are rows of `tenancy`; they are handled here because a project's roles are given with them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core import outbox
from apps.core.access import ProjectRole, ScopedQuerySet, TenantRole, allows, require
from apps.core.actor import Actor, ActorType
from apps.core.errors import AlreadyExists, AlreadyUsed, InvalidInput, NotFound, NotPermitted, VersionConflict
from apps.core.names import require_name
from apps.projects.memberships import operator_actor
from apps.projects.models import Project, ProjectMember
from apps.projects.operations import admit, require_may_give
from apps.projects.staying import require_giver_stays
from apps.tenancy import staying
from apps.tenancy.invitations import invitation_of, token_of
from apps.tenancy.models import Invitation, Tenant, TenantMember, User
from apps.tenancy.operations import normalised_email

GOOD_FOR = timedelta(days=7)
TOPIC = "invitation"


def _require_may_invite(
    actor: Actor, tenant: Tenant, role: TenantRole, project: Project | None, project_role: ProjectRole | None
) -> None:
    """Tenant roles are given by its owners; a project's as `require_may_give` has it, with `member`."""
    if project is None or role != TenantRole.MEMBER:
        require(actor, "tenant:manage_members", tenant)
    if project is not None and project_role is not None:
        require_may_give(actor, project, project_role)


def _require_inviter_stays(
    actor: Actor, tenant: Tenant, role: TenantRole, project: Project | None, project_role: ProjectRole | None
) -> None:
    """What somebody whose own membership ends may not give, they invite nobody to. Asked under the lock."""
    staying.require_giver_stays(actor, tenant, role)
    if project is not None and project_role is not None:
        require_giver_stays(actor, project, project_role)


def _locked_tenant(tenant: Tenant) -> Tenant:
    found = Tenant.objects.select_for_update(no_key=True).live().filter(pk=tenant.pk).first()
    if found is None:
        raise NotFound
    return found


@transaction.atomic
def create_invitation(
    *,
    actor: Actor,
    tenant: Tenant,
    email: str,
    role: TenantRole = TenantRole.MEMBER,
    project: Project | None = None,
    project_role: ProjectRole | None = None,
) -> Invitation:
    """Invite an address into the tenant and, with `project`, give it that role there when it accepts.

    The address need not have an account. Its mail is sent after the commit; the invitation is good
    for 7 days and takes no place of the members' cap. Raises NotPermitted for what `actor` may not
    give themselves, or for their own address; AlreadyExists while one is pending there, or for
    somebody who is in already; InvalidInput. Whose own membership ends by itself invites nobody to
    what is not theirs to give on either.
    """
    if (project is None) != (project_role is None):
        raise InvalidInput.of("project_role", "Give project and project_role together, or neither.")
    if project is not None and project.tenant_id != tenant.pk:
        raise NotFound
    _require_may_invite(actor, tenant, role, project, project_role)
    scope = project or tenant
    inviter = User.objects.filter(pk=actor.user_id).first() if actor.user_id else None
    if inviter is None or actor.type is not ActorType.OPERATOR:
        raise NotPermitted("Invitations are sent by people.", permission="member:manage", target=scope)
    email = normalised_email(email)
    if email == inviter.email:
        raise NotPermitted("Nobody invites themselves.", permission="member:manage", target=scope)
    # Under the lock of what it leads into, so that two at once do not both send one.
    if project is not None:
        project = Project.objects.locked(project.pk, actor=actor)
    else:
        _locked_tenant(tenant)
    _require_inviter_stays(actor, tenant, role, project, project_role)
    _require_outside(tenant, project, email)
    invitation = Invitation.objects.create(
        tenant=tenant,
        email=email,
        role=role,
        project_id=project.pk if project else None,
        project_role=project_role or "",
        invited_by=inviter,
        expires_at=timezone.now() + GOOD_FOR,
    )
    record(
        actor=actor,
        action=Action.INVITATION_CREATED,
        target=invitation.audit_target(),
        changes={
            "email": [None, email],
            "role": [None, role],
            "project_role": [None, project_role],
            "expires_at": [None, invitation.expires_at.isoformat()],
        },
    )
    outbox.enqueue(TOPIC, {"invitation": str(invitation.pk)})
    return invitation


def _require_outside(tenant: Tenant, project: Project | None, email: str) -> None:
    if project is not None:
        is_in = ProjectMember.objects.filter(project=project, user__email=email).exists()
    else:
        is_in = TenantMember.objects.filter(tenant=tenant, user__email=email).exists()
    if is_in:
        raise AlreadyExists("This address has a role there already. Change that one.")
    pending = Invitation.objects.filter(
        tenant=tenant,
        project_id=project.pk if project else None,
        email=email,
        accepted_at=None,
        revoked_at=None,
        expires_at__gt=timezone.now(),
    )
    if pending.exists():
        raise AlreadyExists("This address is invited there already. Revoke that invitation first.")


@transaction.atomic
def revoke_invitation(
    *, actor: Actor, invitation: Invitation, expected_row_version: int | None = None
) -> Invitation:
    """Take an invitation back: what its mail carries is good for nothing from now on.

    Tenant owners revoke each, others those that they could send. Raises AlreadyUsed for one that
    was accepted or revoked, NotPermitted, and VersionConflict.
    """
    if not allows(actor, "tenant:manage_members", invitation.tenant):
        project = _project_of(invitation)
        if project is None:
            require(actor, "tenant:manage_members", invitation.tenant)
        else:
            _require_may_invite(
                actor,
                invitation.tenant,
                TenantRole(invitation.role),
                project,
                ProjectRole(invitation.project_role),
            )
    invitation = _locked(invitation.pk)
    if expected_row_version is not None and invitation.row_version != expected_row_version:
        raise VersionConflict
    if invitation.accepted_at or invitation.revoked_at:
        raise AlreadyUsed("The invitation was accepted or revoked already.")
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    record(
        actor=actor,
        action=Action.INVITATION_REVOKED,
        target=invitation.audit_target(),
        changes={"revoked": [False, True]},
    )
    return invitation


def _project_of(invitation: Invitation) -> Project | None:
    if invitation.project_id is None:
        return None
    return Project.objects.select_related("tenant").live().filter(pk=invitation.project_id).first()


def _locked(pk: UUID) -> Invitation:
    rows = Invitation.objects.select_for_update(of=("self",), no_key=True)
    found = rows.select_related("tenant", "invited_by").filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


def is_pending(invitation: Invitation) -> bool:
    return (
        invitation.accepted_at is None
        and invitation.revoked_at is None
        and invitation.expires_at > timezone.now()
    )


@transaction.atomic
def accept_invitation(*, actor: Actor, token: str) -> Invitation:
    """Let the person in whose address was invited: once, and as far as the inviter may still give it.

    Raises NotFound for a token that is none and for another address alike, AlreadyUsed when it was
    accepted, revoked, has run out, or its inviter may not give that any more, AlreadyExists when
    the person is in already, QuotaExceeded at the cap of members, and NotPermitted for programs.
    """
    if actor.type is not ActorType.OPERATOR or actor.user_id is None:
        raise NotPermitted("An invitation is accepted by a person in a session.")
    asked = invitation_of(token)
    user = User.objects.filter(pk=actor.user_id, is_active=True).first()
    if user is None or user.email != asked.email:
        raise NotFound
    invitation, project = _under_lock(asked)
    return _let_in(actor, invitation, project, user)


@transaction.atomic
def join_by_invitation(*, actor: Actor, token: str, name: str, password: str) -> Invitation:
    """Make the account of an invited address that has none, and accept for it, in one.

    Whoever holds the token received the mail, so that the address is theirs. Raises AlreadyExists
    when the address has an account, InvalidInput for a password that AUTH_PASSWORD_VALIDATORS
    refuse, and what `accept_invitation` raises.
    """
    asked = invitation_of(token)
    name = require_name(name)
    user = User(email=asked.email, name=name)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidInput({"password": error.messages}) from None
    user.set_password(password)
    invitation, project = _under_lock(asked)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists("This address has an account. Log in to accept.") from None
    person = operator_actor(user, origin=actor.origin)
    accepted = _let_in(person, invitation, project, user)
    # The installation's chain last: it is everybody's, and is held for the shortest time.
    record(
        actor=person,
        action=Action.OPERATOR_CREATED,
        target=user.audit_target(),
        changes={"email": [None, user.email], "is_superuser": [None, False]},
    )
    return accepted


def _under_lock(asked: Invitation) -> tuple[Invitation, Project | None]:
    """The invitation and its project under their locks, if it can still be accepted."""
    project = None
    if asked.project_id is not None:
        try:
            project = Project.objects.locked(asked.project_id)
        except NotFound:
            raise AlreadyUsed("The project of this invitation is gone.") from None
    else:
        _locked_tenant(asked.tenant)
    invitation = _locked(asked.pk)
    if not is_pending(invitation):
        raise AlreadyUsed("The invitation was used or revoked, or it has run out. Ask for a new one.")
    # Who they are at this moment: somebody deactivated has no role, and so no right.
    inviter = operator_actor(invitation.invited_by)
    role = TenantRole(invitation.role)
    project_role = ProjectRole(invitation.project_role) if project else None
    try:
        _require_may_invite(inviter, invitation.tenant, role, project, project_role)
        _require_inviter_stays(inviter, invitation.tenant, role, project, project_role)
    except NotPermitted:
        raise AlreadyUsed(
            "Whoever invited you may not give this any more. Ask an owner for a new invitation."
        ) from None
    return invitation, project


def _let_in(actor: Actor, invitation: Invitation, project: Project | None, user: User) -> Invitation:
    _require_not_in(invitation, project, user)
    role = TenantRole(invitation.role)
    if project is not None:
        admit(
            actor=actor,
            project=project,
            user=user,
            role=ProjectRole(invitation.project_role),
            tenant_role=role,
        )
    else:
        member = TenantMember.objects.create(tenant=invitation.tenant, user=user, role=role)
        record(
            actor=actor,
            action=Action.TENANT_MEMBER_ADDED,
            target=member.audit_target(),
            changes={"role": [None, role]},
        )
    invitation.accepted_at = timezone.now()
    invitation.save(update_fields=["accepted_at"])
    record(
        actor=actor,
        action=Action.INVITATION_ACCEPTED,
        target=invitation.audit_target(),
        changes={
            "invited_by": invitation.invited_by.email,
            "role": invitation.role,
            "project_role": invitation.project_role or None,
        },
    )
    return invitation


def _require_not_in(invitation: Invitation, project: Project | None, user: User) -> None:
    if project is not None:
        is_in = ProjectMember.objects.filter(project=project, user=user).exists()
    else:
        is_in = TenantMember.objects.filter(tenant=invitation.tenant_id, user=user).exists()
    if is_in:
        raise AlreadyExists("You have a role there already.")


def readable_invitations(actor: Actor, tenant: Tenant) -> "ScopedQuerySet[Invitation]":
    """Those of the tenant for its owners, for managers those into projects whose members they manage.

    Raises NotPermitted for somebody who manages no members there.
    """
    rows = Invitation.objects.filter(tenant=tenant)
    if allows(actor, "tenant:manage_members", tenant):
        return rows
    projects = Project.objects.filter(tenant=tenant).visible_to(actor, "member:manage")
    ids = list(projects.values_list("pk", flat=True))
    if not ids:
        raise NotPermitted(permission="tenant:manage_members", target=tenant)
    return rows.filter(project_id__in=ids)


def send_invitation(payload: Mapping[str, Any]) -> None:
    """Mail an invitation that is still pending. What its link carries exists in this mail alone."""
    invitation = (
        Invitation.objects.select_related("tenant", "invited_by").filter(pk=payload["invitation"]).first()
    )
    if invitation is None or not is_pending(invitation):
        return
    project = _project_of(invitation)
    into = f"the project {project.name} of {invitation.tenant.name}" if project else invitation.tenant.name
    link = f"{settings.NEXUS_PUBLIC_URL}/accounts/invitation/?token={token_of(invitation)}"
    send_mail(
        f"You are invited to {invitation.tenant.name}",
        f"{invitation.invited_by.email} invites you into {into}.\n\n"
        f"Open this link to accept, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC; it works once:\n\n"
        f"{link}\n\n"
        "If you did not expect this mail, nothing happens unless you accept.\n",
        None,
        [invitation.email],
    )

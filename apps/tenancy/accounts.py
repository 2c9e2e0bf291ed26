"""Stop a person, and let them in again."""

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require_here
from apps.core.actor import Actor
from apps.core.errors import NotFound, NotPermitted
from apps.tenancy.models import Tenant, TenantMember, User
from apps.tenancy.operations import require_version


@transaction.atomic
def deactivate_operator(
    *, actor: Actor, user: User, expected_row_version: int | None = None
) -> tuple[User, list[str]]:
    """Stop a person at once, and return them with the slugs of tenants that have no active owner now.

    Their sessions end for good; their access tokens are refused for as long as they are stopped.
    Their memberships stay, the last owner's too: who leaves in anger must be stoppable. Raises
    NotPermitted, also for oneself, NotFound for who is no person, and VersionConflict.
    """
    require_here(actor, "account:manage")
    if actor.user_id == user.pk:
        raise NotPermitted("Nobody deactivates themselves.", permission="account:manage", target=user)
    user = _locked(actor, user)
    require_version(user, expected_row_version)
    if user.is_active:
        user.is_active = False
        user.save(update_fields=["is_active"])
        left = _left_without_owner(user)
        record(
            actor=actor,
            action=Action.OPERATOR_DEACTIVATED,
            target=user.audit_target(),
            changes={"is_active": [True, False], "left_without_owner": left},
        )
        _end_sessions(user)
        return user, left
    return user, _left_without_owner(user)


@transaction.atomic
def reactivate_operator(*, actor: Actor, user: User, expected_row_version: int | None = None) -> User:
    """Let a person in again, with the password, tokens and memberships that they had.

    Raises NotPermitted, NotFound for who is no person, and VersionConflict.
    """
    require_here(actor, "account:manage")
    user = _locked(actor, user)
    require_version(user, expected_row_version)
    if not user.is_active:
        user.is_active = True
        user.save(update_fields=["is_active"])
        record(
            actor=actor,
            action=Action.OPERATOR_REACTIVATED,
            target=user.audit_target(),
            changes={"is_active": [False, True]},
        )
    return user


def _locked(actor: Actor, user: User) -> User:
    """The person's locked row. Of two superusers who stop each other at once, the second may not."""
    ids = [user.pk] if actor.user_id is None else [user.pk, actor.user_id]
    rows = User.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
    found = {row.pk: row for row in rows}
    if actor.user_id is not None:
        acting = found.get(actor.user_id)
        if acting is None or not (acting.is_active and acting.is_superuser):
            raise NotPermitted(permission="account:manage", target=user)
    row = found.get(user.pk)
    if row is None or row.is_service_account:
        raise NotFound
    return row


def _left_without_owner(user: User) -> list[str]:
    """The live tenants of the person that no active owner is left in.

    Where one is, each project has an owner too: those of a tenant own its projects. So nothing of a
    tenant's content has to be told to who manages accounts.
    """
    owners = TenantMember.objects.lasting_owners().filter(tenant=OuterRef("pk"))
    theirs = Tenant.objects.live().filter(members__user=user, members__ends_at=None)
    return list(theirs.exclude(Exists(owners)).order_by("slug").values_list("slug", flat=True))


def _end_sessions(user: User) -> None:
    """Delete the person's sessions: reactivation must not bring back one that lies open somewhere."""
    # Whose a session is stands inside it alone; operators have some hundreds at most.
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()

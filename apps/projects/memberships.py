"""The Actor of a person, with the memberships that hold at this moment."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Value
from django.utils import timezone

from apps.core import prepared
from apps.core.access import registered_grants
from apps.core.actor import Actor, ActorType, Origin
from apps.projects.models import ProjectMember
from apps.tenancy.models import AccessToken, TenantMember, User
from apps.tenancy.tokens import actor_type

_NOWHERE = Origin()
_PEOPLE = (ActorType.OPERATOR, ActorType.ACCESS_TOKEN, ActorType.SERVICE_ACCOUNT)
_TENANT, _PROJECT, _GRANT = "tenant", "project", "grant"


def operator_actor(user: User, *, origin: Origin = _NOWHERE, present_at: datetime | None = None) -> Actor:
    """Who `user` is right now: read at the door of each request, never kept for the next.

    Somebody who was deactivated has no role at all, whatever their rows say. One query. `present_at` is when
    they last proved, in the session at the door, to be there.
    """
    roles = prepared.fetch("projects.roles", _roles, user.pk, timezone.now()) if user.is_active else []
    active = user.is_active
    return Actor(
        type=ActorType.OPERATOR,
        id=str(user.pk),
        name=user.email,
        origin=origin,
        user_id=user.pk if active else None,
        is_superuser=user.is_superuser and active,
        tenant_roles={scope: role for kind, scope, role in roles if kind == _TENANT},
        project_roles={scope: role for kind, scope, role in roles if kind == _PROJECT},
        present_at=present_at,
        may_hold_grants=any(kind == _GRANT for kind, _, _ in roles),
    )


def _roles(user_id: UUID, now: datetime) -> "QuerySet[Any, Any]":
    """The person's roles as (kind, scope, role), and one row more for each scope of extra grants."""
    holds = Q(ends_at=None) | Q(ends_at__gt=now)
    # Roles in what was deleted softly count too: its owners may restore it, and `visible_to` hides it.
    tenants = TenantMember.objects.filter(holds, user=user_id)
    projects = ProjectMember.objects.filter(holds, user=user_id)
    grants = [
        each(user_id, None).values_list(Value(_GRANT), "user_id", Value("")).distinct()
        for each in registered_grants()
    ]
    return tenants.values_list(Value(_TENANT), "tenant_id", "role").union(
        projects.values_list(Value(_PROJECT), "project_id", "role"), *grants, all=True
    )


def refreshed(actor: Actor) -> Actor:
    """The same actor with the roles that hold now.

    For what persists: an operation that waited for its lock asks once more with this, because the
    roles of the door may have been taken meanwhile. Credentials of workloads, commands and jobs have
    none and stay as they are. Two queries.
    """
    if actor.type not in _PEOPLE or actor.user_id is None:
        return actor
    user = User.objects.filter(pk=actor.user_id).first()
    if user is None:
        return replace(
            actor, user_id=None, is_superuser=False, tenant_roles={}, project_roles={}, may_hold_grants=False
        )
    found = operator_actor(user)
    return replace(
        actor,
        user_id=found.user_id,
        is_superuser=actor.is_superuser and found.is_superuser,
        tenant_roles=found.tenant_roles,
        project_roles=found.project_roles,
        may_hold_grants=found.may_hold_grants,
    )


def token_actor(token: AccessToken, *, origin: Origin = _NOWHERE) -> Actor:
    """Who acts by an access token: its bearer's rights of this moment, as far as its scopes go.

    It is no superuser's hand: accounts and tenants are managed by people in a session.
    """
    bearer = operator_actor(token.user, origin=origin)
    return replace(
        bearer,
        type=actor_type(token),
        name=str(token.user.service_account) if token.user.is_service_account else token.user.email,
        is_superuser=False,
        permissions=frozenset(token.scopes),
    )

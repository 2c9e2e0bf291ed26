"""Who acts. Built at a door from what arrived, then passed by keyword to every operation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID


class ActorType(StrEnum):
    OPERATOR = "operator"
    ACCESS_TOKEN = "access_token"  # noqa: S105 - the name of a kind of actor
    SERVICE_ACCOUNT = "service_account"
    API_KEY = "api_key"
    WORKLOAD_SESSION = "workload_session"
    SYSTEM = "system"
    COMMAND = "command"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as the audit log tells it."""

    address: str = ""
    user_agent: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, with the memberships that it had when it came through the door.

    `tenant_roles` and `project_roles` map ids to role names. `permissions` bounds a credential
    (its scopes) or lists what a system task may do; it is empty for people, whose rights are roles.
    `present_at` is when the person last proved, in this very session, to be there. `may_hold_grants` says
    whether extra grants can add to the roles.
    """

    type: ActorType
    id: str
    name: str
    origin: Origin = field(default_factory=Origin)
    user_id: UUID | None = None
    is_superuser: bool = False
    service_id: UUID | None = None
    tenant_roles: Mapping[UUID, str] = field(default_factory=dict)
    project_roles: Mapping[UUID, str] = field(default_factory=dict)
    permissions: frozenset[str] = frozenset()
    present_at: datetime | None = None
    # False where it was asked and there are none: then no query looks for them.
    may_hold_grants: bool = True

    @classmethod
    def system(cls, task: str, permissions: frozenset[str]) -> Self:
        """A job of Nexus's own, with exactly the permissions that its table row lists."""
        return cls(type=ActorType.SYSTEM, id=task, name=task, permissions=permissions)

    @classmethod
    def command(cls, os_user: str) -> Self:
        """A person on the host. All permissions, the same caps, and an event for each act."""
        return cls(type=ActorType.COMMAND, id=os_user, name=os_user)

    @classmethod
    def anonymous(cls, origin: Origin) -> Self:
        """Nobody in particular: the actor of failed log-ins."""
        return cls(type=ActorType.ANONYMOUS, id="", name="", origin=origin)

    def at(self, origin: Origin) -> Self:
        return replace(self, origin=origin)

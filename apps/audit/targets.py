"""What an event is about."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about, and whose it is. Ids stay when the rows are long purged."""

    type: str
    id: str = ""
    key: str = ""
    tenant_id: UUID | None = None
    project_id: UUID | None = None
    service_id: UUID | None = None


def target_of(obj: Any) -> Target:
    """What an event about `obj` names; models of the domain know it, anything else is its type."""
    if hasattr(obj, "audit_target"):
        target: Target = obj.audit_target()
        return target
    return Target(type(obj).__name__.lower() if obj is not None else "")

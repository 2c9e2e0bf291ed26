"""Audit chains and their events. Rows are written by `apps.audit.operations` alone."""

import json
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from apps.audit.events import Action, ChainKind, Outcome
from apps.core import access
from apps.core.access import AccessPaths, ScopedQuerySet
from apps.core.actor import Actor, ActorType
from apps.core.models import Identified

# Objects that say nothing of secrets: what a tester may read about (SPEC 3).
SECRET_OBJECT_TYPES = ("secret", "secret_version", "api_key")
# Lists and exports stand at the service, and name keys of its secrets all the same.
SECRET_ACTIONS = tuple(action.value for action in Action if action.value.startswith("secret"))

USER_AGENT_MAX_LENGTH = 255
NAME_MAX_LENGTH = 255


class AuditChain(Identified):
    """A numbered, linked list of events. Its row is the head, and the lock of its writers.

    `scope` names it once: `installation`, `tenant:<id>`, `project:<id>:changes` or `…:access`.
    Events up to `pruned_through` may be gone; `pruned_digest` is the digest of the last of them.
    """

    scope = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=12, choices=[(kind, kind) for kind in ChainKind])
    tenant_id = models.UUIDField(null=True)
    project_id = models.UUIDField(null=True)
    head_sequence = models.BigIntegerField(default=0)
    head_digest = models.BinaryField(max_length=32, default=bytes(32))
    pruned_through = models.BigIntegerField(default=0)
    pruned_digest = models.BinaryField(max_length=32, default=bytes(32))

    access_paths = AccessPaths(tenant="tenant_id", project="project_id")

    def __str__(self) -> str:
        return self.scope


class AuditEventQuerySet(ScopedQuerySet["AuditEvent"]):
    def readable_by(self, actor: Actor) -> "AuditEventQuerySet":
        """The events that `actor` may read, in projects, tenants and the installation.

        Owners and managers read a project's, testers those that are not about secrets; tenant
        owners read what lies outside projects; superusers only what belongs to no tenant.
        """
        in_projects = self.exclude(project_id=None)
        found = in_projects.visible_to(actor, "audit:read") | in_projects.visible_to(
            actor, "audit:read_non_secret"
        ).exclude(Q(object_type__in=SECRET_OBJECT_TYPES) | Q(action__in=SECRET_ACTIONS))
        tenant_rule = access.visibility(AccessPaths(tenant="tenant_id"), actor, "tenant:read_audit")
        found |= self.filter(tenant_rule, project_id=None, tenant_id__isnull=False)
        if access.allows_here(actor, "installation:read_audit"):
            found |= self.filter(project_id=None, tenant_id=None)
        return found


class AuditEvent(Identified):
    """One thing that happened, or was refused. Never changed; it leaves by a prune only.

    `changes` is the canonical JSON text whose bytes went into `digest`: a JSON column would give
    back other bytes than it was given.
    """

    chain = models.ForeignKey(AuditChain, on_delete=models.PROTECT, related_name="events")
    sequence = models.BigIntegerField()
    time = models.DateTimeField()
    tenant_id = models.UUIDField(null=True)
    project_id = models.UUIDField(null=True)
    service_id = models.UUIDField(null=True)
    actor_type = models.CharField(max_length=20, choices=[(kind, kind) for kind in ActorType])
    actor_id = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    actor_name = models.CharField(max_length=NAME_MAX_LENGTH, blank=True)
    # Of `Action`; without choices, so that a new action is no migration.
    action = models.CharField(max_length=40)
    object_type = models.CharField(max_length=40, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    object_key = models.CharField(max_length=255, blank=True)
    address = models.CharField(max_length=45, blank=True)
    user_agent = models.CharField(max_length=USER_AGENT_MAX_LENGTH, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=8, choices=[(outcome, outcome) for outcome in Outcome])
    count = models.PositiveIntegerField(default=1)
    changes = models.TextField(default="{}")
    previous_digest = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=32)
    mac = models.BinaryField(max_length=32)
    mac_key_id = models.UUIDField()

    access_paths = AccessPaths(tenant="tenant_id", project="project_id", service="service_id")
    objects = AuditEventQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["chain", "sequence"], name="audit_auditevent_sequence")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project_id", "-time"], name="audit_auditevent_project_time"),
            models.Index(fields=["tenant_id", "-time"], name="audit_auditevent_tenant_time"),
            models.Index(fields=["object_id", "-time"], name="audit_auditevent_object_time"),
            models.Index(
                fields=["chain", "actor_id", "object_id", "-time"],
                condition=models.Q(outcome=Outcome.DENIED),
                name="audit_auditevent_denials",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_key}".strip()

    @property
    def changed(self) -> dict[str, Any]:
        return dict(json.loads(self.changes))

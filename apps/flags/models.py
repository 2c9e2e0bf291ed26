"""Feature flags. A flag's answers follow from its definition alone."""

import json
from typing import Any, ClassVar

from django.db import models

from apps.audit.targets import Target
from apps.core.access import AccessPaths, Scoped, ScopedQuerySet
from apps.core.models import Identified, SoftDeleted, Versioned
from apps.flags.definition import FlagDefinition, parse_definition
from apps.services.models import Service


class Flag(Identified, Versioned, SoftDeleted, Scoped):
    """A flag of one service. `definition` is its wire form (SPEC 7) as JSON text.

    `type`, `enabled`, `starts_at` and `ends_at` repeat what stands there for lists and filters;
    `adopt` sets all of them together, and nothing else writes them.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="flags")
    key = models.CharField(max_length=255)
    is_final = models.BooleanField(default=False)
    type = models.CharField(max_length=7)
    enabled = models.BooleanField(default=False)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    definition = models.TextField()

    access_paths = AccessPaths(
        tenant="service__project__tenant_id",
        project="service__project_id",
        service="service_id",
        environment="service__environment",
        deleted=(
            "deleted_at",
            "service__deleted_at",
            "service__project__deleted_at",
            "service__project__tenant__deleted_at",
        ),
    )
    objects = ScopedQuerySet["Flag"].as_manager()

    class Meta(SoftDeleted.Meta):
        abstract = False
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *SoftDeleted.Meta.constraints,
            models.UniqueConstraint(fields=["service", "key"], name="flags_flag_key"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def wire(self) -> dict[str, Any]:
        return dict(json.loads(self.definition))

    @property
    def parsed(self) -> FlagDefinition:
        return parse_definition(self.wire)

    def adopt(self, definition: FlagDefinition) -> None:
        self.definition = json.dumps(definition.to_wire(), ensure_ascii=False, separators=(",", ":"))
        self.type = definition.type
        self.enabled = definition.enabled
        self.starts_at = definition.starts_at
        self.ends_at = definition.ends_at

    def audit_target(self) -> Target:
        return Target(
            "flag",
            str(self.pk),
            self.key,
            tenant_id=self.service.project.tenant_id,
            project_id=self.service.project_id,
            service_id=self.service_id,
        )

"""Secrets and configs with their versions. Values of secrets are here as ciphertext only."""

import json
from typing import ClassVar

from django.db import models

from apps.audit.targets import Target
from apps.core.access import AccessPaths, Scoped, ScopedQuerySet
from apps.core.clock import StampField
from apps.core.models import DataKey, Identified, SoftDeleted, Versioned
from apps.services.models import Service

ENTRY_PATHS = AccessPaths(
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


class SecretType(models.TextChoices):
    TEXT = "text"
    FILE = "file"


class ConfigType(models.TextChoices):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"


class Entry(Identified, Versioned, SoftDeleted, Scoped):
    """A secret or config of one service, by its key. Its values are versions 1, 2, 3 … without gaps.

    `active_version` is the newest. An umbrella's final entry wins over a child's own.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    is_final = models.BooleanField(default=False)
    active_version = models.PositiveIntegerField(default=0)

    access_paths = ENTRY_PATHS

    class Meta:
        abstract = True
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *SoftDeleted.Meta.constraints,
            models.UniqueConstraint(fields=["service", "key"], name="%(app_label)s_%(class)s_key"),
        ]

    def __str__(self) -> str:
        return self.key

    def audit_target(self) -> Target:
        return Target(
            type(self).__name__.lower(),
            str(self.pk),
            self.key,
            tenant_id=self.service.project.tenant_id,
            project_id=self.service.project_id,
            service_id=self.service_id,
        )


class EntryVersion(Identified):
    """One value of an entry. A destroyed one stays as a tombstone without its value."""

    version = models.PositiveIntegerField()
    description = models.CharField(max_length=500, blank=True)
    size_bytes = models.PositiveIntegerField()
    created_at = StampField(auto_now_add=True)
    created_by = models.CharField(max_length=255, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Secret(Entry):
    """A secret of a backend service. `expires_at` and `rotate_by` remind; they end nothing."""

    expires_at = models.DateTimeField(null=True, blank=True)
    rotate_by = models.DateTimeField(null=True, blank=True)

    objects = ScopedQuerySet["Secret"].as_manager()

    class Meta(Entry.Meta):
        abstract = False


class SecretVersion(EntryVersion):
    """`sealed` is the value under the data key `data_key`, bound to this row (SPEC 5)."""

    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="versions")
    type = models.CharField(max_length=4, choices=SecretType.choices)
    file_name = models.CharField(max_length=255, blank=True)
    sealed = models.BinaryField()
    data_key = models.ForeignKey(DataKey, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["secret", "version"], name="vault_secretversion_number"),
            # A tombstone keeps neither ciphertext nor the name of a key; everything else has both.
            models.CheckConstraint(
                condition=models.Q(destroyed_at=None, data_key__isnull=False)
                | models.Q(destroyed_at__isnull=False, data_key=None, sealed=b""),
                name="vault_secretversion_tombstone",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.secret.key} version {self.version}"


class Config(Entry):
    objects = ScopedQuerySet["Config"].as_manager()

    class Meta(Entry.Meta):
        abstract = False


class ConfigVersion(EntryVersion):
    """`value_json` is the JSON text of the value as written, templates unresolved."""

    config = models.ForeignKey(Config, on_delete=models.CASCADE, related_name="versions")
    type = models.CharField(max_length=7, choices=ConfigType.choices)
    value_json = models.TextField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["config", "version"], name="vault_configversion_number")
        ]

    def __str__(self) -> str:
        return f"{self.config.key} version {self.version}"

    @property
    def text(self) -> str:
        """The value as a person writes it: a string as it is, everything else as JSON."""
        if self.type == ConfigType.STRING and self.value_json:
            return str(json.loads(self.value_json))
        return self.value_json

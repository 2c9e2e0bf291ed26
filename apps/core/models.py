"""Bases of all tables, and the tables that everything else stands on."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.clock import StampField
from apps.core.ids import uuid7


class Identified(models.Model):
    """A row that URLs and JSON name by a UUIDv7."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


class Versioned(models.Model):
    """A row that people change: `row_version` rises with each save and is its ETag in `/manage`.

    Operations hold the row's lock when they save, so reading and raising it cannot race.
    """

    row_version = models.PositiveIntegerField(default=1, editable=False)
    created_at = StampField(auto_now_add=True)
    updated_at = StampField(auto_now=True)

    class Meta:
        abstract = True

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        if not self._state.adding:
            self.row_version += 1
            if update_fields is not None:
                update_fields = {*update_fields, "row_version", "updated_at"}
        super().save(
            force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields
        )


class SoftDeleted(models.Model):
    """A row that its owners may restore until `purge_after`. Its name stays reserved until then."""

    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    purge_after = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(deleted_at__isnull=True, purge_after__isnull=True)
                | Q(deleted_at__isnull=False, purge_after__isnull=False),
                name="%(app_label)s_%(class)s_purge_follows_deletion",
            )
        ]


class Installation(models.Model):
    """The one row that says which life of the database this is.

    `epoch` is new after each restore: a process that remembers another one drops all it has.
    `changes_pruned_through` is the highest `Change.sequence` that may be missing.
    """

    SINGLETON = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=SINGLETON, editable=False)
    epoch = models.UUIDField(default=uuid7)
    changes_pruned_through = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(id=1), name="core_installation_singleton")
        ]

    @classmethod
    def current(cls, using: str = "default") -> "Installation":
        """The row; made at first need, because a flushed database has none."""
        row = cls.objects.using(using).filter(pk=cls.SINGLETON).first()
        return row or cls.objects.get_or_create(pk=cls.SINGLETON)[0]


class KeyState(models.TextChoices):
    CURRENT = "current"
    # Takes no more seals; still opens what it sealed.
    RETIRING = "retiring"
    # Its wrapped bytes are gone, and with them everything it sealed.
    DESTROYED = "destroyed"


class DataKey(Identified):
    """A key that encrypts one project's values, wrapped by a root key (SPEC 5).

    `uses_reserved` counts seals in blocks that a process takes before it spends them: at 2^31 the
    key is replaced, far below the bound of 2^32 random nonces of NIST SP 800-38D section 8.3.
    """

    tenant_id = models.UUIDField(editable=False)
    project_id = models.UUIDField(editable=False)
    root_key_id = models.CharField(max_length=8)
    wrapped_key = models.BinaryField()
    state = models.CharField(max_length=10, choices=KeyState.choices, default=KeyState.CURRENT)
    uses_reserved = models.BigIntegerField(default=0)
    created_at = StampField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["project_id"], condition=Q(state="current"), name="core_datakey_one_current"
            )
        ]


class Purpose(models.TextChoices):
    """What a server key is for. One key never serves two purposes."""

    API_KEY_PEPPER = "api_key_pepper"
    SESSION_SIGNING = "session_signing"
    AUDIT_SIGNING = "audit_signing"
    AUDIT_MAC = "audit_mac"
    ETAG = "etag"
    STREAM_TICKET = "stream_ticket"
    IDEMPOTENCY = "idempotency"
    SNAPSHOT_FILE = "snapshot_file"
    # Seals what people's second factors are made from.
    MFA = "mfa"
    # Signs what an invitation's mail carries, so that no row or message holds it.
    INVITATION = "invitation"


class ServerKey(Identified):
    """A random key of the installation for one purpose, wrapped by a root key."""

    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    version = models.PositiveIntegerField()
    root_key_id = models.CharField(max_length=8)
    wrapped_key = models.BinaryField()
    state = models.CharField(max_length=10, choices=KeyState.choices, default=KeyState.CURRENT)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["purpose", "version"], name="core_serverkey_version"),
            models.UniqueConstraint(
                fields=["purpose"], condition=Q(state="current"), name="core_serverkey_one_current"
            ),
        ]


class Change(models.Model):
    """One thing that other processes must hear of. Appended by `core.changes` alone.

    `transaction_id` is PostgreSQL's id of the writing transaction: it tells a tailer which rows a
    former look could not have seen. SQLite commits in the order of `sequence` and leaves it null.
    """

    sequence = models.BigAutoField(primary_key=True)
    transaction_id = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    event = models.CharField(max_length=40)
    tenant_id = models.UUIDField(null=True)
    project_id = models.UUIDField(null=True)
    service_id = models.UUIDField(null=True)
    credential_id = models.UUIDField(null=True)
    revision = models.BigIntegerField(null=True)
    key = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=10, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["transaction_id"], name="core_change_transaction"),
            models.Index(F("service_id"), F("revision"), name="core_change_service_revision"),
        ]


class OutboxMessage(Identified):
    """Something that must happen after its transaction committed: a mail, later a webhook or export.

    A sweeper takes it under a lease; one that died loses the lease and another takes over.
    `payload` holds ids and addresses, never a value of a secret.
    """

    topic = models.CharField(max_length=40)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=255, blank=True)
    # Set when it was delivered, or given up: a dead letter has an error and no delivery.
    delivered_at = models.DateTimeField(null=True)
    dead_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["due_at"],
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True),
                name="core_outboxmessage_due",
            )
        ]


class IdempotencyRecord(Identified):
    """What was answered to one `Idempotency-Key`, so that a repeat makes nothing twice (SPEC 10).

    `scope_digest` is a MAC over actor, method, path and the key; `body_mac` one over the body: neither
    tells what was sent. `document` is the answer without what is shown once.
    """

    scope_digest = models.BinaryField(max_length=32, unique=True)
    body_mac = models.BinaryField(max_length=32)
    key_id = models.UUIDField()
    status = models.PositiveSmallIntegerField(default=201)
    document = models.JSONField(default=dict)
    etag = models.CharField(max_length=20, blank=True)
    omitted_members = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["created_at"], name="core_idempotency_created")
        ]

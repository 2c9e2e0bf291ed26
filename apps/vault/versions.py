"""Versions of secrets and configs as rows: appended, and destroyed beyond the newest that are kept."""

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from apps.core import crypto, keys
from apps.vault.drafts import ConfigDraft, SecretDraft
from apps.vault.envelope import secret_binding
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion

CREATED_BY_MAX_LENGTH = 255


def append_secret_version(
    secret: Secret, draft: SecretDraft, key: keys.Key, *, created_by: str
) -> SecretVersion:
    """Seal the row of the secret's active version. Destroys what is beyond the newest that are kept."""
    project = secret.service.project
    binding = secret_binding(
        key,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        service_id=secret.service_id,
        secret_id=secret.pk,
        secret_type=draft.type,
        version=secret.active_version,
    )
    version = SecretVersion.objects.create(
        secret=secret,
        version=secret.active_version,
        type=draft.type,
        file_name=draft.file_name,
        sealed=crypto.seal(key.secret, draft.value, bound_to=binding),
        data_key_id=key.id,
        size_bytes=len(draft.value),
        description=draft.description,
        created_by=created_by[:CREATED_BY_MAX_LENGTH],
    )
    _destroy_surplus_secret_versions(secret)
    return version


def _destroy_surplus_secret_versions(secret: Secret) -> None:
    """Overwrite what is older than the newest versions that are kept (SPEC 5: 100)."""
    through = secret.active_version - settings.NEXUS_VERSIONS_KEPT
    if through < 1:
        return
    destroyed = secret.versions.filter(version__lte=through, destroyed_at=None).update(
        sealed=b"", data_key=None, destroyed_at=timezone.now()
    )
    if destroyed:
        forget_overwritten()


def forget_overwritten() -> None:
    """After this transaction, empty SQLite's write-ahead log: overwritten bytes stand there as well."""
    if connection.vendor == "sqlite":
        transaction.on_commit(_truncate_write_ahead_log, robust=True)


def _truncate_write_ahead_log() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def append_config_version(
    config: Config, draft: ConfigDraft, value_json: str, *, created_by: str
) -> ConfigVersion:
    """The row of the config's active version. Destroys what is beyond the newest that are kept."""
    version = ConfigVersion.objects.create(
        config=config,
        version=config.active_version,
        type=draft.type,
        value_json=value_json,
        size_bytes=len(value_json.encode()),
        description=draft.description,
        created_by=created_by[:CREATED_BY_MAX_LENGTH],
    )
    _destroy_surplus_config_versions(config)
    return version


def _destroy_surplus_config_versions(config: Config) -> None:
    through = config.active_version - settings.NEXUS_VERSIONS_KEPT
    if through >= 1:
        config.versions.filter(version__lte=through, destroyed_at=None).update(
            value_json="", destroyed_at=timezone.now()
        )

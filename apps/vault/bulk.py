"""Write and delete many secrets or configs of one service, all or nothing (SPEC 10)."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import OuterRef

from apps.core import keys
from apps.core.actor import Actor
from apps.services import bulk, entries
from apps.services.bulk import Deletion, Result
from apps.services.entries import Precondition
from apps.services.models import Service
from apps.vault.drafts import ConfigDraft, SecretDraft
from apps.vault.models import Config, Secret
from apps.vault.operations import (
    drop_config,
    drop_secret,
    require_backend,
    sealing_key,
    write_config,
    write_secret,
)


@transaction.atomic
def write_secrets(
    *, actor: Actor, service: Service, writes: Sequence[SecretDraft], deletions: Sequence[Deletion]
) -> list[Result]:
    """Write and delete many secrets: the results in the order of `writes`, then of `deletions`.

    Raises what `set_secret` and `delete_secret` raise, by item, and then nothing was written. A place
    that a deletion frees counts for the writes. Some seven queries an item.
    """
    require_backend(service)
    named = bulk.require_distinct([draft.key for draft in writes], deletions)
    bulk.each("write", writes, SecretDraft.require_sound)
    opened = entries.open_entries(
        actor=actor,
        permission="secret:write",
        service=service,
        rows=Secret.objects.all(),
        keys=named,
        annotations={"data_key_id": keys.current_data_key_id(OuterRef("project_id"))},
    )
    opened.expect(deletion.key for deletion in deletions)
    data_key = sealing_key(opened.service, uses=len(writes)) if writes else None

    def write(draft: SecretDraft) -> Result:
        assert data_key is not None  # noqa: S101 - there are writes
        written = write_secret(actor, opened.at(draft.key), draft, data_key)
        opened.used += written.created
        return Result(draft.key, written.version, written.entry.row_version, written.created)

    def drop(deletion: Deletion) -> Result:
        precondition = Precondition(row_version=deletion.row_version)
        secret = drop_secret(actor, opened.at(deletion.key), precondition)
        return Result(deletion.key, None, secret.row_version, False)

    return [*bulk.each("write", writes, write), *bulk.each("delete", deletions, drop)]


@transaction.atomic
def write_configs(
    *, actor: Actor, service: Service, writes: Sequence[ConfigDraft], deletions: Sequence[Deletion]
) -> list[Result]:
    """Write and delete many configs, as `write_secrets` does."""
    named = bulk.require_distinct([draft.key for draft in writes], deletions)
    sound = bulk.each("write", writes, lambda draft: (draft, draft.sound_json()))
    opened = entries.open_entries(
        actor=actor, permission="config:write", service=service, rows=Config.objects.all(), keys=named
    )
    opened.expect(deletion.key for deletion in deletions)

    def write(pair: tuple[ConfigDraft, str]) -> Result:
        draft, value_json = pair
        written = write_config(actor, opened.at(draft.key), draft, value_json)
        opened.used += written.created
        return Result(draft.key, written.version, written.entry.row_version, written.created)

    def drop(deletion: Deletion) -> Result:
        precondition = Precondition(row_version=deletion.row_version)
        config = drop_config(actor, opened.at(deletion.key), precondition)
        return Result(deletion.key, None, config.row_version, False)

    return [*bulk.each("write", sound, write), *bulk.each("delete", deletions, drop)]

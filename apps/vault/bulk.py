"""Write and delete many secrets or configs of one service, all or nothing (SPEC 10)."""

from collections.abc import Callable, Sequence

from django.db import transaction
from django.db.models import OuterRef

from apps.core import keys
from apps.core.actor import Actor
from apps.services import bulk, entries
from apps.services.bulk import Deletion, Result
from apps.services.entries import Precondition
from apps.services.models import Service
from apps.vault import dependants, sizes
from apps.vault.dependants import Write
from apps.vault.drafts import ConfigDraft, SecretDraft
from apps.vault.models import Config, Secret
from apps.vault.operations import (
    drop_config,
    drop_secret,
    require_backend,
    require_fits,
    sealing_key,
    write_config,
    write_secret,
)


def _field_of(keys: Sequence[str]) -> Callable[[str], str]:
    """Where in the request a written key stands."""
    places = {key: place for place, key in enumerate(keys)}
    return lambda key: f"write.{places[key]}.value"


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
        annotations={
            "data_key_id": keys.current_data_key_id(OuterRef("project_id")),
            "stored_bytes": sizes.stored_bytes(),
        },
    )
    opened.expect(deletion.key for deletion in deletions)
    data_key = sealing_key(opened.service, uses=len(writes)) if writes else None
    dependants.require_served(
        actor=actor,
        service=opened.service,
        writes=[draft.planned(opened.at(draft.key)) for draft in writes],
        field=_field_of([draft.key for draft in writes]),
    )

    def write(draft: SecretDraft) -> Result:
        assert data_key is not None  # noqa: S101 - there are writes
        written = write_secret(actor, opened.at(draft.key), draft, data_key)
        opened.used += written.created
        return Result(draft.key, written.version, written.entry.row_version, written.created)

    def drop(deletion: Deletion) -> Result:
        precondition = Precondition(row_version=deletion.row_version)
        secret = drop_secret(actor, opened.at(deletion.key), precondition)
        return Result(deletion.key, None, secret.row_version, False)

    results = [*bulk.each("write", writes, write), *bulk.each("delete", deletions, drop)]
    require_fits(opened.service, sum(len(draft.value) for draft in writes), has_templates=False)
    return results


@transaction.atomic
def write_configs(
    *, actor: Actor, service: Service, writes: Sequence[ConfigDraft], deletions: Sequence[Deletion]
) -> list[Result]:
    """Write and delete many configs, as `write_secrets` does."""
    named = bulk.require_distinct([draft.key for draft in writes], deletions)
    sound = bulk.each("write", writes, lambda draft: (draft, draft.sound_json()))
    opened = entries.open_entries(
        actor=actor,
        permission="config:write",
        service=service,
        rows=Config.objects.all(),
        keys=named,
        annotations={"stored_bytes": sizes.stored_bytes()},
    )
    opened.expect(deletion.key for deletion in deletions)
    planned = [(draft, draft.planned(opened.at(draft.key), text)) for draft, text in sound]
    dependants.require_served(
        actor=actor,
        service=opened.service,
        writes=[plan for _, plan in planned],
        field=_field_of([draft.key for draft in writes]),
    )

    def write(pair: tuple[ConfigDraft, Write]) -> Result:
        draft, plan = pair
        written = write_config(actor, opened.at(draft.key), draft, plan)
        opened.used += written.created
        return Result(draft.key, written.version, written.entry.row_version, written.created)

    def drop(deletion: Deletion) -> Result:
        precondition = Precondition(row_version=deletion.row_version)
        config = drop_config(actor, opened.at(deletion.key), precondition)
        return Result(deletion.key, None, config.row_version, False)

    results = [*bulk.each("write", planned, write), *bulk.each("delete", deletions, drop)]
    added = sum(len(text) for _, text in sound)
    require_fits(opened.service, added, has_templates=any(plan.references for _, plan in planned))
    return results

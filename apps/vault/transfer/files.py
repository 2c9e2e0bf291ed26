"""Entries from files into a service, and out of it."""

from collections.abc import Collection
from typing import Final

from django.db import transaction

from apps.audit.events import Action
from apps.audit.operations import record
from apps.core.access import require, require_presence
from apps.core.actor import Actor
from apps.core.errors import InvalidInput, ServiceKindMismatch
from apps.services import entries
from apps.services.inheritance import require_in_scope
from apps.services.models import Kind, Service
from apps.vault.formats import Document, Item, require_export_format, write
from apps.vault.formats.documents import config_type_of
from apps.vault.resolution import stored_secrets
from apps.vault.transfer.changes import (
    Change,
    WantedSecret,
    changed,
    config_changes,
    config_write,
    secret_changes,
    secret_write,
    write_all,
)
from apps.vault.transfer.effective import all_unsealed, as_text, results
from apps.vault.values import secret_wire_value, stored_value

EXPORTED_KINDS: Final = ("secrets", "configs")


def _require_import(actor: Actor, service: Service, document: Document) -> None:
    if document.secrets:
        require(actor, "secret:write", service)
        if service.kind != Kind.BACKEND:
            raise ServiceKindMismatch
    if document.configs or not document.secrets:
        require(actor, "config:write", service)
        # The answer says what stood there before.
        require(actor, "config:read", service)


def _plan(actor: Actor, service: Service, document: Document) -> tuple[list[Change], list[Change]]:
    secrets = {key: WantedSecret(text.encode()) for key, text in document.secrets.items()}
    configs = {key: (config_type_of(value), value) for key, value in document.configs.items()}
    return secret_changes(actor, service, secrets), config_changes(service, configs)


@transaction.atomic
def plan_import(*, actor: Actor, service: Service, document: Document) -> list[Change]:
    """What `import_entries` would do, as the database is now, without trying it.

    Raises NotPermitted, and ServiceKindMismatch for secrets into a frontend.
    """
    _require_import(actor, service, document)
    secrets, configs = _plan(actor, service, document)
    return secrets + configs


@transaction.atomic
def import_entries(
    *, actor: Actor, service: Service, document: Document, dry_run: bool = False
) -> list[Change]:
    """Make what `document` names own entries of the service, all or nothing; return what changed.

    What is equal already is not written. Only who may reveal, and is present, learns that of a secret;
    for others each existing one counts as changed, and gets a version. A `dry_run` writes, and takes
    it back: quotas, templates and limits are asked as they would be.

    Raises NotPermitted, ServiceKindMismatch, QuotaExceeded, and InvalidInput with the path of each
    entry that is refused, as `configs.a.b`.
    """
    _require_import(actor, service, document)
    service = entries.lock_service(service, actor=actor)
    secrets, configs = _plan(actor, service, document)
    writes = [
        secret_write(actor, service, key, WantedSecret(document.secrets[key].encode()))
        for key in changed(secrets)
    ]
    for key in changed(configs):
        value = document.configs[key]
        writes.append(config_write(actor, service, key, config_type_of(value), value))
    write_all(writes, dry_run=dry_run)
    return secrets + configs


def export_entries(
    *,
    actor: Actor,
    service: Service,
    form: str,
    reveal: bool,
    kinds: Collection[str] | None = None,
) -> str:
    """What is in effect for the service as one flat file in the format `form`, keys in order.

    Without `reveal` secrets are left out, and configs that are templates; of a frontend there are
    configs alone. With it a backend's export is one event `secret.exported`, committed before this
    returns. `kinds` are `secrets` and `configs`, by default both.

    Raises NotPermitted, ReauthenticationRequired, ServiceKindMismatch, Unreadable when a value does
    not open, and InvalidInput, naming keys, for what the format has no way to write.
    """
    require_export_format(form)
    reveals = reveal and service.kind == Kind.BACKEND
    if kinds is None:
        chosen = set(EXPORTED_KINDS)
    else:
        chosen = set(kinds)
        _require_kinds(service, chosen, reveal=reveal)
    if "configs" in chosen:
        require(actor, "config:read", service)
    if reveals:
        require_in_scope(actor, "secret:reveal", service)
        require_presence(actor)
    items: list[Item] = []
    versions: dict[str, int] = {}
    # Read once: what is told of is what left.
    stored = {key: each for key, (each, _) in stored_secrets(service).items()} if reveals else {}
    if reveals and "secrets" in chosen:
        values = all_unsealed(service, stored.values())
        for key, each in stored.items():
            text = secret_wire_value(each.type, values[key])
            items.append(Item("secret", key, text, text))
            versions[key] = each.version
    if "configs" in chosen:
        found = results(service, stored if reveal else None)
        versions |= found.secrets
        for key, (config_type, value_json) in found.texts.items():
            items.append(Item("config", key, as_text(config_type, value_json), stored_value(value_json)))
    content = write(form, sorted(items, key=lambda item: item.key))
    if reveals:
        with transaction.atomic(durable=True):
            record(
                actor=actor,
                action=Action.SECRET_EXPORTED,
                target=service.audit_target(),
                changes={"format": form, "kinds": sorted(chosen), "versions": versions},
            )
    return content


def _require_kinds(service: Service, chosen: set[str], *, reveal: bool) -> None:
    if not chosen or chosen - set(EXPORTED_KINDS):
        raise InvalidInput.of("kinds", f"Choose from {', '.join(EXPORTED_KINDS)}.")
    if "secrets" in chosen:
        if service.kind != Kind.BACKEND:
            raise ServiceKindMismatch
        if not reveal:
            raise InvalidInput.of("reveal", "Secrets leave only where this asks for it.")

"""The audit log: one event for each change, linked, and what happens when somebody tampers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from apps.audit.events import Action
from apps.audit.models import AuditChain, AuditEvent
from apps.audit.operations import digest_of, record, record_denial
from apps.audit.verification import checkpoint_file, sign_heads, verify
from apps.core import triggers
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.core.errors import NotPermitted
from apps.core.models import Change
from apps.flags.operations import delete_flag, set_flag, set_flag_state
from apps.projects.operations import (
    activate_add_on,
    change_tier,
    create_project,
    remove_project_member,
    set_project_member,
)
from apps.services.models import Kind
from apps.services.operations import (
    create_service,
    delete_service,
    disable_service,
    issue_api_key,
    link_umbrella,
    resume_service,
    revoke_api_key,
)
from apps.tenancy.operations import create_operator, create_tenant, set_tenant_member
from apps.vault.models import Secret, SecretVersion
from apps.vault.operations import delete_config, delete_secret, export_secrets, set_config, set_secret
from tests.conftest import ORIGIN, Cast

VALUE = "never-in-the-audit-log"


@contextmanager
def tampering() -> Iterator[None]:
    """What somebody who owns the database can do: the guards are away for the block."""
    # PostgreSQL changes no trigger of a table while foreign keys of this transaction are unchecked.
    connection.check_constraints()
    with triggers.lifted():
        yield
        connection.check_constraints()


def changes_chain(cast: Cast) -> AuditChain:
    return AuditChain.objects.get(scope=f"project:{cast.project.pk}:changes")


def write(cast: Cast, command: Actor, count: int = 4) -> AuditChain:
    for number in range(count):
        set_config(actor=command, service=cast.backend, key=f"k{number}", value="v")
    return changes_chain(cast)


Operation = Callable[[Cast, Actor], Any]

# What is done, the one event that it leaves, and the kind of chain that this goes to.
OPERATIONS: dict[str, tuple[Operation, str, str]] = {
    "create_operator": (
        lambda cast, actor: create_operator(actor=actor, email="new@example.org"),
        "operator.created",
        "installation",
    ),
    "create_tenant": (
        lambda cast, actor: create_tenant(actor=actor, slug="new", owner=cast.users["alice"]),
        "tenant.created",
        "tenant",
    ),
    "set_tenant_member": (
        lambda cast, actor: set_tenant_member(
            actor=actor, tenant=cast.tenant, user=cast.users["finn"], role=TenantRole.MEMBER
        ),
        "tenant_member.role_changed",
        "tenant",
    ),
    "create_project": (
        lambda cast, actor: create_project(actor=actor, tenant=cast.tenant, slug="new"),
        "project.created",
        "changes",
    ),
    "change_tier": (
        lambda cast, actor: change_tier(actor=actor, project=cast.project, tier="l"),
        "project.tier_changed",
        "changes",
    ),
    "activate_add_on": (
        lambda cast, actor: activate_add_on(actor=actor, project=cast.project, name="ab_testing"),
        "add_on.activated",
        "changes",
    ),
    "set_project_member": (
        lambda cast, actor: set_project_member(
            actor=actor, project=cast.project, user=cast.users["vic"], role=ProjectRole.TESTER
        ),
        "project_member.role_changed",
        "changes",
    ),
    "remove_project_member": (
        lambda cast, actor: remove_project_member(actor=actor, project=cast.project, user=cast.users["vic"]),
        "project_member.removed",
        "changes",
    ),
    "create_service": (
        lambda cast, actor: create_service(
            actor=actor, project=cast.project, environment="qa", slug="new", kind=Kind.BACKEND
        ),
        "service.created",
        "changes",
    ),
    "disable_service": (
        lambda cast, actor: disable_service(actor=actor, service=cast.backend),
        "service.disabled",
        "changes",
    ),
    "delete_service": (
        lambda cast, actor: delete_service(actor=actor, service=cast.backend),
        "service.deleted",
        "changes",
    ),
    "link_umbrella": (
        lambda cast, actor: link_umbrella(actor=actor, service=cast.child, umbrella=None),
        "service.umbrella_changed",
        "changes",
    ),
    "issue_api_key": (
        lambda cast, actor: issue_api_key(actor=actor, service=cast.backend, slot="secondary"),
        "api_key.issued",
        "changes",
    ),
    "revoke_api_key": (
        lambda cast, actor: revoke_api_key(actor=actor, service=cast.backend, slot="primary"),
        "api_key.revoked",
        "changes",
    ),
    "set_secret": (
        lambda cast, actor: set_secret(actor=actor, service=cast.backend, key="new", value=VALUE.encode()),
        "secret.created",
        "changes",
    ),
    "overwrite_secret": (
        lambda cast, actor: set_secret(actor=actor, service=cast.backend, key="s", value=VALUE.encode()),
        "secret.updated",
        "changes",
    ),
    "delete_secret": (
        lambda cast, actor: delete_secret(actor=actor, service=cast.backend, key="s"),
        "secret.deleted",
        "changes",
    ),
    "export_secrets": (
        lambda cast, actor: export_secrets(actor=actor, service=cast.backend),
        "secret.exported",
        "changes",
    ),
    "set_config": (
        lambda cast, actor: set_config(actor=actor, service=cast.backend, key="new", value="v"),
        "config.created",
        "changes",
    ),
    "overwrite_config": (
        lambda cast, actor: set_config(actor=actor, service=cast.backend, key="c", value="w"),
        "config.updated",
        "changes",
    ),
    "delete_config": (
        lambda cast, actor: delete_config(actor=actor, service=cast.backend, key="c"),
        "config.deleted",
        "changes",
    ),
    "set_flag": (
        lambda cast, actor: set_flag(
            actor=actor,
            service=cast.backend,
            key="new",
            definition={"key": "new", "type": "boolean", "enabled": True},
        ),
        "flag.created",
        "changes",
    ),
    "set_flag_state": (
        lambda cast, actor: set_flag_state(actor=actor, service=cast.backend, key="f", enabled=False),
        "flag.updated",
        "changes",
    ),
    "delete_flag": (
        lambda cast, actor: delete_flag(actor=actor, service=cast.backend, key="f"),
        "flag.deleted",
        "changes",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_leaves_exactly_its_event_with_a_linked_digest(
    name: str, cast: Cast, command: Actor
) -> None:
    operate, action, kind = OPERATIONS[name]
    set_secret(actor=command, service=cast.backend, key="s", value=VALUE.encode())
    set_config(actor=command, service=cast.backend, key="c", value="v")
    set_flag_state(actor=command, service=cast.backend, key="f", enabled=True)
    before = set(AuditEvent.objects.values_list("pk", flat=True))

    operate(cast, command)

    (event,) = AuditEvent.objects.exclude(pk__in=before)
    chain = event.chain
    assert (event.action, chain.kind, event.outcome, event.count) == (action, kind, "success", 1)
    assert (event.actor_type, event.actor_name) == ("command", "tester")
    assert (event.address, event.user_agent, event.request_id) == (
        ORIGIN.address,
        ORIGIN.user_agent,
        ORIGIN.request_id,
    )
    predecessor = AuditEvent.objects.filter(chain=chain, sequence=event.sequence - 1).first()
    assert bytes(event.previous_digest) == (bytes(predecessor.digest) if predecessor else bytes(32))
    assert bytes(event.digest) == digest_of(event) == bytes(chain.head_digest)
    assert chain.head_sequence == event.sequence
    assert VALUE not in event.changes
    assert verify(AuditChain.objects.all()).first_bad is None


def test_what_changes_nothing_leaves_no_event(cast: Cast, command: Actor) -> None:
    before = AuditEvent.objects.count()

    change_tier(actor=command, project=cast.project, tier="m")
    resume_service(actor=command, service=cast.backend)
    link_umbrella(actor=command, service=cast.child, umbrella=cast.umbrella)
    set_project_member(
        actor=command, project=cast.project, user=cast.users["bob"], role=ProjectRole.DEVELOPER
    )

    assert AuditEvent.objects.count() == before


def test_an_event_that_cannot_be_written_undoes_the_change(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_secret(actor=command, service=cast.backend, key="old", value=b"one")
    events, changes = AuditEvent.objects.count(), Change.objects.count()
    cast.backend.refresh_from_db()
    revision = cast.backend.revision

    def fail(**_: Any) -> None:
        raise RuntimeError("the audit log is full")

    monkeypatch.setattr("apps.vault.operations.record", fail)
    monkeypatch.setattr("apps.vault.reads.record", fail)
    for key in ("old", "new"):
        with pytest.raises(RuntimeError):
            set_secret(actor=command, service=cast.backend, key=key, value=b"two")
    with pytest.raises(RuntimeError):
        export_secrets(actor=command, service=cast.backend)

    assert list(Secret.objects.values_list("key", "active_version")) == [("old", 1)]
    assert SecretVersion.objects.count() == 1
    assert (AuditEvent.objects.count(), Change.objects.count()) == (events, changes)
    cast.backend.refresh_from_db()
    assert cast.backend.revision == revision


def test_a_refused_operation_leaves_no_event_of_success(cast: Cast) -> None:
    before = AuditEvent.objects.count()

    with pytest.raises(NotPermitted):
        set_config(actor=cast.actor("vic"), service=cast.backend, key="k", value="v")

    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("changes", "{}"),
        ("actor_name", "somebody else"),
        ("outcome", "denied"),
        ("count", 2),
        ("object_key", "other"),
        ("address", "203.0.113.9"),
        ("mac", bytes(32)),
    ],
)
def test_a_changed_event_is_found_by_its_number(field: str, value: Any, cast: Cast, command: Actor) -> None:
    chain = write(cast, command)
    number = chain.head_sequence - 2
    victim = AuditEvent.objects.get(chain=chain, sequence=number)

    with tampering():
        AuditEvent.objects.filter(pk=victim.pk).update(**{field: value})

    found = verify(AuditChain.objects.all())
    assert found.first_bad is not None
    assert (found.first_bad.id, found.first_bad.number) == (str(victim.pk), number)
    assert found.first_bad.chain == chain.scope
    assert not found.holds


def test_a_changed_event_with_a_fitting_digest_still_lacks_the_mac(cast: Cast, command: Actor) -> None:
    chain = write(cast, command)
    victim = AuditEvent.objects.get(chain=chain, sequence=chain.head_sequence)

    victim.object_key = "other"
    victim.digest = digest_of(victim)
    with tampering():
        AuditEvent.objects.filter(pk=victim.pk).update(object_key="other", digest=victim.digest)
        AuditChain.objects.filter(pk=chain.pk).update(head_digest=victim.digest)

    found = verify(AuditChain.objects.all())
    assert found.first_bad is not None
    assert (found.first_bad.number, "MAC" in found.first_bad.reason) == (chain.head_sequence, True)


def test_a_removed_event_is_found_by_its_number(cast: Cast, command: Actor) -> None:
    chain = write(cast, command)
    number = chain.head_sequence - 1

    with tampering():
        AuditEvent.objects.filter(chain=chain, sequence=number).delete()

    found = verify(AuditChain.objects.all())
    assert found.first_bad is not None
    assert (found.first_bad.number, found.first_bad.reason) == (number, f"number {number} is missing")


def test_two_events_in_the_other_order_are_found_by_the_first_number(cast: Cast, command: Actor) -> None:
    chain = write(cast, command)
    number = chain.head_sequence - 2
    events = AuditEvent.objects.filter(chain=chain)
    earlier, later = events.get(sequence=number), events.get(sequence=number + 1)

    with tampering():
        events.filter(pk=earlier.pk).update(sequence=10_000)
        events.filter(pk=later.pk).update(sequence=number)
        events.filter(pk=earlier.pk).update(sequence=number + 1)

    found = verify(AuditChain.objects.all())
    assert found.first_bad is not None
    assert (found.first_bad.number, found.first_bad.id) == (number, str(later.pk))


def test_an_inserted_event_is_found(cast: Cast, command: Actor) -> None:
    chain = write(cast, command)
    copy = AuditEvent.objects.get(chain=chain, sequence=chain.head_sequence)

    copy.pk, copy.sequence = AuditEvent().pk, chain.head_sequence + 1
    copy.previous_digest = chain.head_digest
    copy.save(force_insert=True)

    found = verify(AuditChain.objects.all())
    assert found.first_bad is not None
    assert (found.first_bad.number, found.first_bad.id) == (chain.head_sequence + 1, str(copy.pk))


def cut_tail(chain: AuditChain, through: int) -> None:
    """Remove what came after `through` and set the head back: inside the database all is well."""
    last = AuditEvent.objects.get(chain=chain, sequence=through)
    with tampering():
        AuditEvent.objects.filter(chain=chain, sequence__gt=through).delete()
        AuditChain.objects.filter(pk=chain.pk).update(head_sequence=through, head_digest=last.digest)


def test_a_removed_tail_is_found_against_the_signed_heads_alone(
    cast: Cast, command: Actor, settings: Settings, tmp_path: Path
) -> None:
    settings.NEXUS_VAR = tmp_path
    chain = write(cast, command)
    without_copy = verify(AuditChain.objects.all())
    sign_heads(AuditChain.objects.all())
    untouched = verify(AuditChain.objects.all())

    cut_tail(chain, chain.head_sequence - 2)

    found = verify(AuditChain.objects.all())
    assert (without_copy.truncation, untouched.truncation) == ("unknown", "none")
    assert (found.first_bad, found.truncation, found.holds) == (None, "found", False)


def test_a_tail_that_was_cut_and_grown_again_is_found(
    cast: Cast, command: Actor, settings: Settings, tmp_path: Path
) -> None:
    settings.NEXUS_VAR = tmp_path
    chain = write(cast, command)
    sign_heads(AuditChain.objects.all())

    cut_tail(chain, chain.head_sequence - 2)
    write(cast, command)

    found = verify(AuditChain.objects.all())
    assert (found.first_bad, found.truncation) == (None, "found")


def test_a_head_with_a_signature_of_somebody_else_proves_nothing(
    cast: Cast, command: Actor, settings: Settings, tmp_path: Path
) -> None:
    settings.NEXUS_VAR = tmp_path
    write(cast, command)
    sign_heads(AuditChain.objects.all())

    text = checkpoint_file().read_text(encoding="ascii")
    checkpoint_file().write_text(text.replace('"number": ', '"number": 9'), encoding="ascii")

    assert verify(AuditChain.objects.all()).truncation == "unknown"
    assert checkpoint_file().stat().st_mode & 0o077 == 0


def test_denials_are_written_once_a_minute_with_their_count(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    vic, target = cast.actor("vic"), cast.backend.audit_target()
    denials = AuditEvent.objects.filter(action="action.denied").order_by("sequence")

    for _ in range(3):
        record_denial(actor=vic, permission="secret:write", target=target)
    within_the_minute = list(denials.values_list("count", flat=True))
    record_denial(actor=vic, permission="config:write", target=target)
    record_denial(actor=cast.actor("tess"), permission="secret:write", target=target)
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr(timezone, "now", lambda: later)
    record_denial(actor=vic, permission="secret:write", target=target)

    assert within_the_minute == [1]
    assert list(denials.values_list("actor_name", "count")) == [
        ("vic@example.org", 1),
        ("vic@example.org", 1),
        ("tess@example.org", 1),
        ("vic@example.org", 3),
    ]
    assert {event.chain.kind for event in denials} == {"access"}
    assert {event.outcome for event in denials} == {"denied"}


def test_an_event_needs_the_transaction_of_its_change(committed_cast: Cast, command: Actor) -> None:
    before = AuditEvent.objects.count()

    with pytest.raises(transaction.TransactionManagementError):
        record(actor=command, action=Action.LOGOUT, target=committed_cast.project.audit_target())

    assert AuditEvent.objects.count() == before

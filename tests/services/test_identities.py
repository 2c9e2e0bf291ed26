"""Forgetting a workload identity."""

from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import NotFound, NotPermitted
from apps.core.models import Change
from apps.services.models import Service, WorkloadIdentity
from apps.services.operations import distrust_workload
from tests.conftest import Cast


def identity_of(service: Service, **more: Any) -> WorkloadIdentity:
    settings = {"provider": "github", "issuer": "https://issuer.example", "audience": "nexus", **more}
    settings.setdefault("subject", "repo:acme/shop:environment:production")
    return WorkloadIdentity.objects.create(service=service, **settings)


def test_distrusting_removes_the_binding_tells_why_and_reaches_every_process(cast: Cast) -> None:
    identity, kept = identity_of(cast.backend), identity_of(cast.backend, subject="another")

    distrust_workload(actor=cast.actor("mona"), service=cast.backend, identity_id=identity.pk)

    assert list(WorkloadIdentity.objects.all()) == [kept]
    event = AuditEvent.objects.latest("time")
    assert (event.action, event.object_id) == ("workload_identity.distrusted", str(identity.pk))
    assert event.actor_name == "mona@example.org"
    change = Change.objects.latest("sequence")
    assert (change.event, change.credential_id) == ("credential.changed", identity.pk)


@pytest.mark.parametrize("name", ["bob", "tess", "vic", "finn", "mallory", "sue"])
def test_who_does_not_manage_workload_identities_removes_none(cast: Cast, name: str) -> None:
    identity = identity_of(cast.backend)

    with pytest.raises(NotPermitted):
        distrust_workload(actor=cast.actor(name), service=cast.backend, identity_id=identity.pk)

    assert WorkloadIdentity.objects.filter(pk=identity.pk).exists()


def test_an_identity_of_another_service_is_not_found(cast: Cast, command: Actor) -> None:
    identity = identity_of(cast.child)

    for unknown in (identity.pk, uuid4()):
        with pytest.raises(NotFound):
            distrust_workload(actor=command, service=cast.backend, identity_id=unknown)

    assert WorkloadIdentity.objects.filter(pk=identity.pk).exists()


def test_the_command_names_the_service_and_the_id(cast: Cast) -> None:
    identity = identity_of(cast.backend)
    out = StringIO()

    call_command(
        "distrust_workload",
        "acme/shop/production/api",
        str(identity.pk),
        "--json",
        stdout=out,
        stderr=StringIO(),
    )

    assert out.getvalue().strip() == f'{{"id": "{identity.pk}"}}'
    assert not WorkloadIdentity.objects.exists()


def test_a_binding_without_subject_and_claims_cannot_be_stored(cast: Cast) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        identity_of(cast.backend, subject="")

    assert identity_of(cast.backend, subject="", claims={"repository": "acme/shop"}).pk


def test_an_identity_never_moves_to_another_service(cast: Cast) -> None:
    identity = identity_of(cast.backend)

    with pytest.raises(IntegrityError), transaction.atomic():
        WorkloadIdentity.objects.filter(pk=identity.pk).update(service=cast.child)

"""One table of credentials at both doors: delivery, which asks its memory, and Django, which asks rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client as DjangoClient
from django.utils import timezone

from apps.core import crypto, keys, triggers
from apps.core.actor import Actor
from apps.core.changes import ChangeEvent, announce
from apps.core.models import Purpose
from apps.services.credentials import new_key_text, row_mac
from apps.services.models import ApiKey
from apps.services.operations import (
    delete_service,
    disable_service,
    issue_api_key,
    revoke_api_key,
)
from apps.tenancy.models import Tenant
from tests.conftest import Cast
from tests.delivery.client import PEER, delivering

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])

INSIDE, OUTSIDE = "192.0.2.0/24", "198.51.100.0/24"


@dataclass
class Asked:
    """What a request carries: headers, and what stands behind the question mark."""

    headers: Sequence[tuple[str, str]]
    query: str = ""


@dataclass
class Told:
    status: int
    code: str
    text: str
    headers: dict[str, str]


Door = Callable[[Asked], Told]


def through_delivery(asked: Asked) -> Told:
    with delivering() as client:
        reply = client.get("/api/v1/sync", headers=asked.headers, query=asked.query)
    return Told(reply.status, reply.json.get("code", ""), reply.body.decode(), reply.headers)


def through_django(asked: Asked) -> Told:
    path = "/api/v1/secrets" + (f"?{asked.query}" if asked.query else "")
    reply = DjangoClient().get(path, headers=dict(asked.headers), REMOTE_ADDR=PEER)
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Told(reply.status_code, reply.json().get("code", ""), reply.content.decode(), headers)


@pytest.fixture(params=[through_delivery, through_django])
def door(request: pytest.FixtureRequest) -> Any:
    return request.param


def with_key(text: str) -> Asked:
    return Asked([("X-Nexus-API-Key", text)])


def issue(cast: Cast, command: Actor, **options: Any) -> str:
    return issue_api_key(actor=command, service=cast.backend, slot="secondary", **options)[1]


def good(cast: Cast, command: Actor) -> Asked:
    return with_key(cast.keys["backend"])


def other_header(cast: Cast, command: Actor) -> Asked:
    return Asked([("X-API-Key", cast.keys["backend"])])


def bearer(cast: Cast, command: Actor) -> Asked:
    return Asked([("Authorization", f"Bearer {cast.keys['backend']}")])


def lower_case_bearer(cast: Cast, command: Actor) -> Asked:
    return Asked([("Authorization", f"bearer {cast.keys['backend']}")])


def from_inside(cast: Cast, command: Actor) -> Asked:
    return with_key(issue(cast, command, allowed_networks=[OUTSIDE, INSIDE]))


def before_its_expiry(cast: Cast, command: Actor) -> Asked:
    return with_key(issue(cast, command, expires_at=timezone.now() + timedelta(hours=1)))


def malformed(cast: Cast, command: Actor) -> Asked:
    return with_key("sk_live_0123")


def upper_case(cast: Cast, command: Actor) -> Asked:
    return with_key(cast.keys["backend"].upper())


def wrong_checksum(cast: Cast, command: Actor) -> Asked:
    text = cast.keys["backend"]
    return with_key(text[:-1] + ("0" if text[-1] != "0" else "1"))


def unknown(cast: Cast, command: Actor) -> Asked:
    return with_key(new_key_text("backend"))


def revoked(cast: Cast, command: Actor) -> Asked:
    revoke_api_key(actor=command, service=cast.backend, slot="primary")
    return with_key(cast.keys["backend"])


def past_its_overlap(cast: Cast, command: Actor) -> Asked:
    ApiKey.objects.filter(service=cast.backend).update(
        is_outgoing=True, ends_at=timezone.now() - timedelta(seconds=1)
    )
    return with_key(cast.keys["backend"])


def expired(cast: Cast, command: Actor) -> Asked:
    """A key whose row says, and is sealed to say, that it ended a second ago."""
    text = issue(cast, command, expires_at=timezone.now() + timedelta(hours=1))
    row = ApiKey.objects.select_related("service").get(service=cast.backend, slot="secondary")
    row.expires_at = timezone.now() - timedelta(seconds=1)
    _seal_again(row)
    return with_key(text)


def _seal_again(row: ApiKey) -> None:
    pepper = keys.server_key(Purpose.API_KEY_PEPPER)
    ApiKey.objects.filter(pk=row.pk).update(
        expires_at=row.expires_at, mac=row_mac(pepper, row, row.service.kind)
    )


def from_outside(cast: Cast, command: Actor) -> Asked:
    return with_key(issue(cast, command, allowed_networks=[OUTSIDE]))


def two_headers(cast: Cast, command: Actor) -> Asked:
    text = cast.keys["backend"]
    return Asked([("X-Nexus-API-Key", text), ("X-API-Key", text)])


def header_and_bearer(cast: Cast, command: Actor) -> Asked:
    text = cast.keys["backend"]
    return Asked([("X-Nexus-API-Key", text), ("Authorization", f"Bearer {text}")])


def empty(cast: Cast, command: Actor) -> Asked:
    return with_key("")


def basic(cast: Cast, command: Actor) -> Asked:
    return Asked([("Authorization", f"Basic {cast.keys['backend']}")])


def in_the_query(cast: Cast, command: Actor) -> Asked:
    return Asked([], query=f"api_key={cast.keys['backend']}")


def in_the_query_too(cast: Cast, command: Actor) -> Asked:
    text = cast.keys["backend"]
    return Asked([("X-Nexus-API-Key", text)], query=f"x={text}")


def disabled_service(cast: Cast, command: Actor) -> Asked:
    disable_service(actor=command, service=cast.backend)
    return with_key(cast.keys["backend"])


def deleted_service(cast: Cast, command: Actor) -> Asked:
    delete_service(actor=command, service=cast.backend)
    return with_key(cast.keys["backend"])


def _tampered(cast: Cast, **columns: Any) -> Asked:
    with triggers.lifted():
        assert ApiKey.objects.filter(service=cast.backend).update(**columns) == 1
    return with_key(cast.keys["backend"])


def tampered_scopes(cast: Cast, command: Actor) -> Asked:
    return _tampered(cast, scopes=["destroy", "read", "write"])


def tampered_service(cast: Cast, command: Actor) -> Asked:
    return _tampered(cast, service_id=cast.child.pk, slot="secondary")


def tampered_networks(cast: Cast, command: Actor) -> Asked:
    return _tampered(cast, allowed_networks=[INSIDE])


def tampered_expiry(cast: Cast, command: Actor) -> Asked:
    return _tampered(cast, expires_at=timezone.now() + timedelta(days=3650))


def tampered_digest(cast: Cast, command: Actor) -> Asked:
    """The digest of a text that the attacker knows, even made with the right pepper."""
    text = new_key_text("backend")
    pepper = keys.server_key(Purpose.API_KEY_PEPPER)
    _tampered(cast, digest=crypto.keyed_digest(pepper.secret, text.encode()))
    return with_key(text)


def tampered_pepper(cast: Cast, command: Actor) -> Asked:
    return _tampered(cast, pepper_id=cast.child.pk)


def suspend(cast: Cast) -> None:
    with transaction.atomic():
        Tenant.objects.filter(pk=cast.tenant.pk).update(suspended_at=timezone.now())
        announce(event=ChangeEvent.TENANT_CHANGED, tenant_id=cast.tenant.pk)


def suspended(cast: Cast, command: Actor) -> Asked:
    suspend(cast)
    return with_key(cast.keys["backend"])


def suspended_and_from_outside(cast: Cast, command: Actor) -> Asked:
    asked = from_outside(cast, command)
    suspend(cast)
    return asked


def suspended_and_revoked(cast: Cast, command: Actor) -> Asked:
    suspend(cast)
    return revoked(cast, command)


ACCEPTED = [good, other_header, bearer, lower_case_bearer, from_inside, before_its_expiry]
REFUSED = [
    malformed,
    upper_case,
    wrong_checksum,
    unknown,
    revoked,
    past_its_overlap,
    expired,
    from_outside,
    two_headers,
    header_and_bearer,
    empty,
    basic,
    in_the_query,
    in_the_query_too,
    disabled_service,
    deleted_service,
    tampered_scopes,
    tampered_service,
    tampered_networks,
    tampered_expiry,
    tampered_digest,
    tampered_pepper,
    suspended_and_from_outside,
    suspended_and_revoked,
]
Arrange = Callable[[Cast, Actor], Asked]


@pytest.mark.parametrize("arrange", ACCEPTED)
def test_a_good_credential_is_accepted(
    arrange: Arrange, door: Door, committed_cast: Cast, command: Actor
) -> None:
    asked = arrange(committed_cast, command)

    told = door(asked)

    assert (told.status, told.code) == (200, "")
    assert "www-authenticate" not in told.headers


@pytest.mark.parametrize("arrange", REFUSED)
def test_whatever_is_wrong_with_a_credential_is_one_answer(
    arrange: Arrange, door: Door, committed_cast: Cast, command: Actor
) -> None:
    asked = arrange(committed_cast, command)

    told = door(asked)

    assert (told.status, told.code) == (401, "invalid_credential")
    assert told.headers["content-type"] == "application/problem+json"
    assert told.headers["www-authenticate"] == 'Bearer realm="nexus"'
    assert told.headers["cache-control"] == "private, no-store"
    assert "etag" not in told.headers
    for _, value in asked.headers:
        assert not value or value not in told.text
    assert committed_cast.keys["backend"] not in told.text


def test_a_suspended_tenants_good_credential_is_told_to_pay(
    door: Door, committed_cast: Cast, command: Actor
) -> None:
    asked = suspended(committed_cast, command)

    told = door(asked)

    assert (told.status, told.code) == (402, "payment_required")
    assert told.headers["cache-control"] == "private, no-store"
    assert "secrets" not in told.text


def test_the_refusal_has_the_same_words_at_both_doors(committed_cast: Cast, command: Actor) -> None:
    asked = unknown(committed_cast, command)

    first, second = through_delivery(asked), through_django(asked)

    for name in ("content-type", "www-authenticate", "cache-control", "vary"):
        assert first.headers[name] == second.headers[name], name
    strip = [told.text.split('"request_id"')[0] for told in (first, second)]
    assert strip[0] == strip[1]


def test_a_keys_text_is_kept_nowhere(committed_cast: Cast, command: Actor) -> None:
    text = issue(committed_cast, command)

    row = ApiKey.objects.get(service=committed_cast.backend, slot="secondary")

    stored = repr(ApiKey.objects.filter(pk=row.pk).values().get())
    assert text not in stored
    assert text[8:-8] not in stored
    assert text.encode() not in bytes(row.digest)
    assert (row.prefix, row.last4) == ("sk_live_", text[-4:])

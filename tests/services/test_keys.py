"""Issuing and revoking keys."""

import pytest

from apps.core.actor import Actor
from apps.core.errors import InvalidInput, NotPermitted, SlotTaken, UmbrellaHasNoKeys
from apps.services.credentials import find_in_database, is_well_formed
from apps.services.models import ApiKey
from apps.services.operations import issue_api_key, revoke_api_key
from tests.conftest import Cast


def test_a_key_has_the_form_that_the_contract_gives_and_is_stored_as_a_digest(cast: Cast) -> None:
    text = cast.keys["backend"]

    row = ApiKey.objects.get(service=cast.backend)

    assert is_well_formed(text)
    assert text.startswith("sk_live_")
    assert cast.keys["frontend"].startswith("pk_live_")
    assert len(text) == len("sk_live_") + 64
    assert text.encode() not in bytes(row.digest)
    assert find_in_database(text).service_id == cast.backend.pk


def test_a_typo_is_refused_by_the_checksum(cast: Cast) -> None:
    text = cast.keys["backend"]

    wrong = text[:20] + ("0" if text[20] != "0" else "1") + text[21:]

    assert not is_well_formed(wrong)


def test_a_taken_slot_is_refused_and_a_revoked_one_is_free(cast: Cast, command: Actor) -> None:
    with pytest.raises(SlotTaken):
        issue_api_key(actor=command, service=cast.backend)

    revoke_api_key(actor=command, service=cast.backend, slot="primary")
    _, text = issue_api_key(actor=command, service=cast.backend)

    assert text != cast.keys["backend"]


def test_an_umbrella_has_no_keys_and_a_frontend_key_only_reads(cast: Cast, command: Actor) -> None:
    with pytest.raises(UmbrellaHasNoKeys):
        issue_api_key(actor=command, service=cast.umbrella)
    with pytest.raises(InvalidInput):
        issue_api_key(actor=command, service=cast.frontend, slot="secondary", scopes=["read", "write"])


@pytest.mark.parametrize("name", ["bob", "tess", "vic", "finn", "mallory", "sue"])
def test_who_does_not_manage_services_issues_no_key(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted):
        issue_api_key(actor=cast.actor(name), service=cast.backend, slot="secondary")

    assert ApiKey.objects.filter(service=cast.backend).count() == 1

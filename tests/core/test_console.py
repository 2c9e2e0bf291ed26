"""The console as a door: what it shows to whom, and that it writes nothing by itself."""

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.test import Client

from apps.core.actor import Actor
from apps.tenancy.models import User
from apps.vault.operations import set_secret
from tests.conftest import Cast
from tests.console.session import signed_in


def pages() -> list[str]:
    return [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]


def test_an_owner_opens_every_list_and_sees_keys_but_no_value(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="stripe.key", value=b"canary-in-console")
    client = signed_in(cast, "carol")

    answers = {page: client.get(page) for page in pages()}

    assert {answer.status_code for answer in answers.values()} == {200}
    assert "stripe.key" in answers["/admin/vault/secret/"].content.decode()
    assert not any("canary-in-console" in answer.content.decode() for answer in answers.values())


def test_strangers_and_superusers_see_nothing_of_a_tenant(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="stripe.key", value=b"x")
    service_page = f"/admin/services/service/{cast.backend.pk}/change/"

    for name in ("mallory", "sue"):
        client = signed_in(cast, name)
        listed = "".join(client.get(page).content.decode() for page in pages())
        refused = client.get(service_page)

        assert "stripe.key" not in listed
        assert "checkout" not in listed
        assert refused.status_code == 302  # The admin's "does not exist", as for a random id.


def test_the_console_adds_changes_and_deletes_nothing(cast: Cast) -> None:
    client = signed_in(cast, "carol")
    service_page = f"/admin/services/service/{cast.backend.pk}"

    answers = [client.get(f"{page}add/") for page in pages()]
    answers.append(client.post(f"{service_page}/change/", {"slug": "renamed"}))
    answers.append(client.post(f"{service_page}/delete/", {"post": "yes"}))

    assert {answer.status_code for answer in answers} == {403}
    cast.backend.refresh_from_db()
    assert cast.backend.slug == "api"


def test_a_lookup_reaches_no_column_that_is_no_filter(cast: Cast) -> None:
    client = signed_in(cast, "carol")

    answer = client.get("/admin/services/apikey/?digest__startswith=a")

    assert answer.status_code == 400


def test_an_admin_that_is_not_ours_fails_the_start() -> None:
    admin.site.register(User, admin.ModelAdmin)
    try:
        found = [error.id for error in run_checks()]
    finally:
        admin.site.unregister(User)

    assert "nexus.E001" in found


@pytest.mark.django_db
def test_nobody_enters_without_a_log_in() -> None:
    answer = Client().get("/admin/")

    assert answer.status_code == 302

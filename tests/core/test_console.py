"""The console as a door: what it shows to whom, and that it writes nothing by itself."""

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.test import Client

from apps.audit.models import AuditChain
from apps.core.actor import Actor
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
        assert refused.status_code == 404


def test_what_django_would_write_by_itself_stays_unwritten(cast: Cast) -> None:
    client = signed_in(cast, "carol")
    service_page = f"/admin/services/service/{cast.backend.pk}"

    changed = client.post(f"{service_page}/change/", {"slug": "renamed", "kind": "frontend"})
    acted = client.post(
        "/admin/services/service/",
        {"action": "delete_selected", "select_across": "1", "_selected_action": str(cast.backend.pk)},
    )

    assert changed.status_code == 403  # The page has no form outside its settings.
    assert acted.status_code in (200, 302, 403)
    cast.backend.refresh_from_db()
    assert (cast.backend.slug, cast.backend.kind, cast.backend.deleted_at) == ("api", "backend", None)


def test_a_lookup_reaches_no_column_that_is_no_filter(cast: Cast) -> None:
    client = signed_in(cast, "carol")

    answer = client.get("/admin/services/apikey/?digest__startswith=a")

    assert answer.status_code == 400


def test_an_admin_that_is_not_ours_fails_the_start() -> None:
    admin.site.register(AuditChain, admin.ModelAdmin)
    try:
        found = [error.id for error in run_checks()]
    finally:
        admin.site.unregister(AuditChain)

    assert "nexus.E001" in found


@pytest.mark.django_db
def test_nobody_enters_without_a_log_in() -> None:
    answer = Client().get("/admin/")

    assert answer.status_code == 302

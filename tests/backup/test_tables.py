"""Nothing is forgotten: every table, column and server key is either archived or left out by name."""

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from apps.core.models import Purpose
from nexus.backup import tables
from nexus.backup.columns import columns_of
from nexus.backup.tables import (
    CARRIED_PURPOSES,
    LEFT_OUT,
    PERMISSION,
    RENEWED_PURPOSES,
    TABLES,
    archived,
    references,
    unnamed_models,
)


def test_every_model_is_archived_or_left_out_with_its_reason() -> None:
    assert unnamed_models() == []

    known = [table.label for table in TABLES] + list(LEFT_OUT)
    assert len(known) == len(set(known))
    assert all(LEFT_OUT.values())
    assert {apps.get_model(label)._meta.label for label in known if "_" not in label} <= set(known)


def test_every_server_key_is_carried_or_made_anew() -> None:
    assert set(Purpose) == CARRIED_PURPOSES | RENEWED_PURPOSES
    assert not CARRIED_PURPOSES & RENEWED_PURPOSES


def test_a_table_that_nobody_named_stops_a_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TABLES", tuple(each for each in TABLES if each.label != "flags.Flag"))

    with pytest.raises(ImproperlyConfigured, match=r"flags\.Flag"):
        archived(of_tenant=False)


@pytest.mark.parametrize("of_tenant", [False, True])
def test_every_column_has_a_form_and_every_reference_leads_to_an_earlier_table(of_tenant: bool) -> None:
    ordered = archived(of_tenant=of_tenant)
    seen: set[str] = set()

    for table in ordered:
        seen.add(table.label)
        names = {column.name for column in columns_of(table, of_tenant=of_tenant, permissions={})}
        assert {label for _, label in references(table.model)} <= seen
        assert set(table.parents) <= names
        assert {label for labels in table.parents.values() for label in labels if of_tenant} <= seen
    assert PERMISSION not in seen


def test_what_a_tenant_archive_lacks_is_there_to_be_withheld() -> None:
    for table in TABLES:
        names = {each.attname for each in table.model._meta.concrete_fields}
        assert set(table.withheld) <= names
        # In full archives alone, and why; or a tenant's, and how.
        assert bool(table.tenant) is not bool(table.full_only)


def test_a_tenant_archive_has_no_column_that_lets_anybody_in() -> None:
    columns = {
        table.label: {column.name for column in columns_of(table, of_tenant=True, permissions={})}
        for table in archived(of_tenant=True)
    }

    assert columns["tenancy.User"] == {"id", "email", "name", "is_active", "is_service_account"}
    assert not {"digest", "mac", "pepper_id"} & columns["services.ApiKey"]
    assert not {"core.ServerKey", "tenancy.AccessToken", "mfa.Authenticator"} & columns.keys()

"""What an archive may not say, whoever signed it: rows that no operation would have written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.core import keys
from apps.core.actor import Actor
from apps.core.models import Installation
from apps.tenancy.models import Tenant, User
from apps.vault.models import ConfigVersion
from nexus.backup.container import ArchiveReader
from nexus.backup.errors import ArchiveIsDamaged
from nexus.backup.making import make_backup
from nexus.backup.restoring import restore
from tests.backup.conftest import Document, count_rows, empty_database, forge
from tests.conftest import Cast

Change = Callable[[Document], object]


@pytest.fixture
def archive(full_cast: Cast, command: Actor, tmp_path: Path) -> Path:
    path = tmp_path / "acme"
    make_backup(actor=command, path=path, tenant=full_cast.tenant)
    return path


def refusals(actor: Actor, archive: Path, changes: dict[str, Change]) -> dict[str, str]:
    """What is said of each forgery. Nothing is written for any."""
    before, said = count_rows(), {}
    for name, change in changes.items():
        path = forge(archive, archive.with_name(name), change)
        with pytest.raises(ArchiveIsDamaged) as found:
            restore(actor=actor, path=path, trust_foreign=True)
        said[name] = found.value.detail
    assert count_rows() == before
    return said


def person(it: Document) -> dict[str, object]:
    return it.row("tenancy.User", email="vic@example.org")


def robot(it: Document) -> dict[str, object]:
    return it.row("tenancy.User", is_service_account=True)


def account_of_a_person(it: Document) -> None:
    """The body that the account names is somebody who lives here, by address."""
    vic = person(it)
    vic["email"] = "mallory@example.org"
    it.tables["tenancy.ServiceAccount"][0]["user_id"] = vic["id"]


def two_accounts_of_one(it: Document) -> None:
    (account,) = it.tables["tenancy.ServiceAccount"]
    it.tables["tenancy.ServiceAccount"].append(
        {**account, "id": "0190a000-0000-7000-8000-000000000001", "name": "twin"}
    )


def test_nobody_who_is_here_becomes_automation_of_an_archives_tenant(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    changes: dict[str, Change] = {
        "a person": account_of_a_person,
        "two of one": two_accounts_of_one,
        "none": lambda it: it.tables["tenancy.ServiceAccount"].clear(),
        "a body without account": lambda it: person(it).update(is_service_account=True),
        "an owner of the tenant": lambda it: it.row("tenancy.TenantMember", user_id=robot(it)["id"]).update(
            role="owner"
        ),
        "an owner of the project": lambda it: it.row(
            "projects.ProjectMember", user_id=person(it)["id"]
        ).update(user_id=robot(it)["id"], role="owner"),
    }

    # Where the tenant lives, and where its people do.
    refusals(command, archive, changes)
    empty_database()
    keys.create_missing_server_keys()
    Installation.current()
    mallory = User.objects.create(email="mallory@example.org")
    said = refusals(command, archive, changes)

    assert "of tenancy.ServiceAccount is none that could have been written" in said["a person"]
    assert not any("example.org" in text for text in said.values())
    assert not Tenant.objects.exists()
    assert User.objects.get() == mallory


def test_umbrella_and_child_are_of_one_project_environment_and_kind(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    def service(slug: str, **values: object) -> Change:
        return lambda it: it.row("services.Service", slug=slug).update(values)

    umbrella = str(full_cast.umbrella.pk)
    refusals(
        command,
        archive,
        {
            "of another kind": service("web", umbrella_id=umbrella),
            "of another environment": service("checkout", environment="develop"),
            "no umbrella": service("api", umbrella_id=str(full_cast.child.pk)),
            "an umbrella itself": service("checkout", is_umbrella=True),
            "secrets of a frontend": lambda it: it.tables["vault.Secret"][0].update(
                service_id=str(full_cast.frontend.pk)
            ),
        },
    )


def test_values_definitions_names_and_choices_are_those_of_a_write(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    hidden = "zQ7-hidden-heron"

    def first(label: str, **values: object) -> Change:
        return lambda it: it.tables[label][0].update(values)

    def config(text: str, kind: str = "string") -> Change:
        return first("vault.ConfigVersion", type=kind, value_json=text)

    def definition(**members: object) -> Change:
        def change(it: Document) -> None:
            (row,) = it.tables["flags.Flag"]
            row["definition"] = json.dumps({**json.loads(str(row["definition"])), **members})

        return change

    changes: dict[str, Change] = {
        "no json": config(f'"{hidden}'),
        "another type": config(f'"{hidden}"', "number"),
        "no template": config(f'"{{{{{hidden}"'),
        "no number": config("NaN", "json"),
        "twice": config(f'{{"{hidden}":1,"{hidden}":2}}', "json"),
        "too long": config(json.dumps(hidden * 5000)),
        "too deep": config("[" * 5000 + "]" * 5000, "json"),
        "loose": config(f' "{hidden}"'),
        "a tombstone with a value": first("vault.ConfigVersion", destroyed_at="2026-01-01T00:00:00.000000Z"),
        "no type": first("vault.ConfigVersion", type="text"),
        "no flag": first("flags.Flag", definition=f'"{hidden}"'),
        "a flag's variants": definition(variants=hidden),
        "another flag's key": definition(key=hidden),
        "a flag said to be off": definition(enabled=False),
        "a flag's own key": first("flags.Flag", key="<b>"),
        "a config's key": first("vault.Config", key="a b"),
        "a secret's key": first("vault.Secret", key="../x"),
        "a service's slug": first("services.Service", slug="A/B"),
        "an environment": first("services.Service", environment="pro duction"),
        "a kind": first("services.Service", kind="both"),
        "a project's slug": first("projects.Project", slug="-"),
        "no list of environments": first("projects.Project", environments='{"a":1}'),
        "half a character": first("projects.Project", environments='["\\ud800"]'),
        "a tier": first("projects.Project", tier="huge"),
        "a tenant's slug": first("tenancy.Tenant", slug="Acme!"),
        "a tenant's role": first("tenancy.TenantMember", role="god"),
        "a project's role": first("projects.ProjectMember", role="god"),
    }

    said = refusals(command, archive, changes)

    assert not any(hidden in text for text in said.values())
    row = ConfigVersion.objects.order_by("pk").first()
    assert row is not None
    assert str(row.pk) in said["no template"]
    assert "vault.ConfigVersion" in said["no template"]


def test_ones_own_whole_database_comes_back_whatever_a_write_would_say_today(
    full_cast: Cast, command: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disaster is no time to be strict; from strangers it is refused all the same."""
    path = tmp_path / "whole"
    make_backup(actor=command, path=path)
    forge(path, tmp_path / "odd", lambda it: it.tables["vault.ConfigVersion"][0].update(value_json="{{odd"))
    empty_database()
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveReader, "is_foreign", lambda self: True)
        with pytest.raises(ArchiveIsDamaged):
            restore(actor=command, path=tmp_path / "odd", trust_foreign=True)

    restore(actor=command, path=tmp_path / "odd")

    assert ConfigVersion.objects.filter(value_json="{{odd").count() == 1

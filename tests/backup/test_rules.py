"""What an archive may not say, whoever signed it: rows that no operation would have written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.core import keys
from apps.core.actor import Actor
from apps.core.models import Installation
from apps.tenancy.models import Tenant, User
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

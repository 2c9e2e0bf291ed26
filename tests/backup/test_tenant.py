"""A tenant's archive: what it brings, to where the tenant is not, and to where it lives on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from apps.audit.events import Action
from apps.audit.models import AuditChain, AuditEvent
from apps.audit.operations import record
from apps.audit.verification import verify
from apps.core import keys
from apps.core.access import ProjectRole, allows
from apps.core.actor import Actor
from apps.core.errors import AlreadyExists, Conflict, InvalidCredential
from apps.core.models import Change, DataKey, KeyState, ServerKey
from apps.projects.models import AddOn, Project, ProjectGrant, ProjectMember
from apps.projects.operations import deactivate_add_on, remove_project_member, set_project_member
from apps.services.credentials import find_in_database
from apps.services.models import ApiKey, EntryReference, Service, ServiceGrant, WorkloadIdentity
from apps.services.operations import delete_service, distrust_workload, revoke_api_key
from apps.tenancy.models import ServiceAccount, Tenant, TenantMember, User
from apps.vault.models import Config, Secret, SecretVersion
from apps.vault.operations import delete_secret, reveal_secret, set_config, set_secret
from apps.vault.verification import verify_vault
from nexus.backup.container import ArchiveReader, Header
from nexus.backup.errors import ArchiveIsDamaged, ArchiveIsInTheWay, ArchiveIsTooOld
from nexus.backup.making import make_backup
from nexus.backup.restoring import restore
from tests.backup.conftest import SECRET, Document, count_rows, empty_database, forge
from tests.conftest import Cast


@pytest.fixture
def archive(full_cast: Cast, command: Actor, tmp_path: Path) -> Path:
    path = tmp_path / "acme"
    make_backup(actor=command, path=path, tenant=full_cast.tenant)
    return path


def rows_of(path: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What stands in the archive, as it is written there."""
    found: dict[str, list[dict[str, Any]]] = {}
    forge(path, folder / "read", lambda document: found.update(document.tables))
    return found


def value_of(command: Actor, service: Service, key: str) -> bytes:
    return reveal_secret(actor=command, secret=Secret.objects.get(service=service, key=key)).value


def test_it_holds_the_tenant_alone_and_nothing_that_lets_anybody_in(
    full_cast: Cast, archive: Path, tmp_path: Path
) -> None:
    found = rows_of(archive, tmp_path)

    emails = {row["email"] for row in found["tenancy.User"]}
    people = {f"{name}@example.org" for name in ("alice", "mona", "bob", "tess", "vic", "carol", "finn")}
    assert people | {"robot@acme.service-account.invalid"} == emails
    assert [row["slug"] for row in found["tenancy.Tenant"]] == ["acme"]
    assert [row["slug"] for row in found["projects.Project"]] == ["shop"]
    assert {row["key"] for row in found["vault.Secret"]} == {"stripe", "file", "gone"}
    text = repr(found)
    assert not any(word in text for word in ("is_superuser", "md5$", "password", "lair", "mallory", "sue@"))
    key = ApiKey.objects.get(service=full_cast.backend)
    assert bytes(key.digest).hex() not in text
    for absent in ("core.ServerKey", "tenancy.AccessToken", "tenancy.Invitation", "audit.AuditEvent"):
        assert absent not in found


def test_where_the_tenant_is_not_everything_comes_but_no_way_in(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    User.objects.filter(email="alice@example.org").update(is_superuser=True)
    expected = {
        model: model.objects.count() for model in (ProjectMember, AddOn, SecretVersion, EntryReference)
    }
    empty_database()
    server_keys = set(ServerKey.objects.values_list("pk", flat=True))

    done = restore(actor=command, path=archive)

    assert (done.total("present"), done.total("left_out")) == (0, 0)
    tenant = Tenant.objects.get()
    for name in ("alice", "carol"):
        person = User.objects.get(email=f"{name}@example.org")
        assert (person.is_superuser, person.has_usable_password()) == (False, False)
    assert TenantMember.objects.get(user__email="carol@example.org").role == "owner"
    assert ServiceAccount.objects.get().user.email == "robot@acme.service-account.invalid"
    assert not server_keys & set(ServerKey.objects.values_list("pk", flat=True))
    for name in ("backend", "frontend", "child"):
        with pytest.raises(InvalidCredential):
            find_in_database(full_cast.keys[name])
    assert ApiKey.objects.count() == ApiKey.objects.exclude(revoked_at=None).count() == 3
    assert not WorkloadIdentity.objects.filter(disabled_at=None).exists()
    assert expected[ProjectMember] == ProjectMember.objects.count()
    assert expected[AddOn] == AddOn.objects.count()
    # One version is another tenant's.
    assert expected[SecretVersion] - 1 == SecretVersion.objects.count()
    assert expected[EntryReference] == EntryReference.objects.count()
    assert ProjectGrant.objects.get().granted_by is not None
    assert ServiceGrant.objects.get().permission.codename == "secret:reveal"
    assert value_of(command, full_cast.backend, "stripe") == f"{SECRET}2".encode()
    assert verify_vault().failed == []
    assert verify(AuditChain.objects.all()).first_bad is None
    event = AuditEvent.objects.get(action="backup.restored")
    assert (event.tenant_id, event.changed["added"]) == (tenant.pk, done.total("added"))
    assert AuditEvent.objects.filter(action="operator.created").count() == 8
    assert Change.objects.filter(event="tenant.changed", tenant_id=tenant.pk).exists()


def test_into_its_own_living_installation_it_brings_nothing_that_is_there(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    set_secret(actor=command, service=full_cast.backend, key="stripe", value=b"newer")
    before = count_rows()

    done = restore(actor=command, path=archive)

    assert (done.total("added"), done.is_foreign) == (0, False)
    after = count_rows()
    changed = {label: after[label] - before[label] for label in after if after[label] != before[label]}
    # A reference and a grant have numbers, not names: they are left out, not doubled.
    assert changed == {"audit.AuditEvent": 1, "core.Change": 1}
    assert value_of(command, full_cast.backend, "stripe") == b"newer"
    assert find_in_database(full_cast.keys["backend"])


def test_what_was_revoked_removed_or_deleted_here_stays_so(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    revoke_api_key(actor=command, service=cast.backend, slot="primary")
    remove_project_member(actor=command, project=cast.project, user=cast.users["bob"])
    TenantMember.objects.filter(user=cast.users["finn"]).delete()
    deactivate_add_on(actor=command, project=cast.project, name="ab_testing")
    identity = WorkloadIdentity.objects.get()
    distrust_workload(actor=command, service=cast.backend, identity_id=identity.pk)
    delete_service(actor=command, service=cast.child)
    delete_secret(actor=command, service=cast.backend, key="stripe", force=True)
    set_project_member(actor=command, project=cast.project, user=cast.users["tess"], role=ProjectRole.VIEWER)

    restore(actor=command, path=archive)

    with pytest.raises(InvalidCredential):
        find_in_database(cast.keys["backend"])
    assert not ProjectMember.objects.filter(user=cast.users["bob"]).exists()
    assert not ProjectGrant.objects.filter(user=cast.users["bob"]).exists()
    assert not TenantMember.objects.filter(user=cast.users["finn"]).exists()
    assert ProjectMember.objects.get(user=cast.users["tess"]).role == "viewer"
    assert not AddOn.objects.exists()
    assert not WorkloadIdentity.objects.exists()
    assert Service.objects.get(pk=cast.child.pk).deleted_at is not None
    assert Secret.objects.get(key="stripe").deleted_at is not None


def test_what_was_purged_here_stays_away(full_cast: Cast, archive: Path, command: Actor) -> None:

    cast = full_cast
    secret = Secret.objects.get(key="stripe")
    with transaction.atomic():
        for action, row in ((Action.SECRET_PURGED, secret), (Action.SERVICE_PURGED, cast.frontend)):
            record(actor=command, action=action, target=row.audit_target())
    secret.delete()
    Service.objects.filter(pk=cast.frontend.pk).delete()

    done = restore(actor=command, path=archive)

    assert not Secret.objects.filter(key="stripe").exists()
    assert not Service.objects.filter(pk=cast.frontend.pk).exists()
    # Three versions and the secret; the service with its key, config, version and flag.
    assert done.tables["vault.SecretVersion"].left_out == 3
    assert done.tables["flags.Flag"].left_out == 1


def test_what_was_lost_here_comes_back_and_its_readers_hear_of_it(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    Secret.objects.filter(key="stripe").delete()
    Secret.objects.filter(key="file").delete()
    revisions = dict(Service.objects.values_list("pk", "revision"))

    done = restore(actor=command, path=archive)

    assert (done.tables["vault.Secret"].added, done.tables["vault.SecretVersion"].added) == (2, 4)
    assert value_of(command, cast.backend, "stripe") == f"{SECRET}2".encode()
    assert verify_vault().failed == []
    # An umbrella's children read what is its own.
    risen = {service.slug for service in Service.objects.all() if service.revision > revisions[service.pk]}
    assert risen == {"api", "common", "checkout"}


def test_a_service_that_comes_back_brings_its_grants_and_no_working_key(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    Service.objects.filter(pk=cast.backend.pk).delete()

    restore(actor=command, path=archive, keep_credentials=True)

    assert ServiceGrant.objects.get().content_object_id == cast.backend.pk
    assert ApiKey.objects.get(service=cast.backend).revoked_at is not None
    # A workload brings its own proof, so that keeping it is a choice.
    assert WorkloadIdentity.objects.get().disabled_at is None
    with pytest.raises(InvalidCredential):
        find_in_database(cast.keys["backend"])
    assert EntryReference.objects.count() == 1


def test_who_was_removed_from_the_tenant_gets_no_role_in_what_comes_back(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    """The project was lost, not removed, so that it comes back; Bob and Vic were shown the door."""
    cast = full_cast
    Service.objects.filter(project=cast.project).update(umbrella=None)
    Service.objects.filter(project=cast.project).delete()
    Project.objects.filter(pk=cast.project.pk).delete()
    TenantMember.objects.filter(tenant=cast.tenant, user=cast.users["bob"]).delete()
    TenantMember.objects.filter(tenant=cast.tenant, user=cast.users["vic"]).delete()
    cast.users["vic"].delete()

    done = restore(actor=command, path=archive)

    roles = dict(ProjectMember.objects.values_list("user__email", "role"))
    assert roles == {
        "alice@example.org": "owner",
        "mona@example.org": "manager",
        "tess@example.org": "tester",
    }
    assert not ProjectGrant.objects.exists()
    assert ServiceGrant.objects.get().user.is_service_account
    assert not User.objects.filter(email="vic@example.org").exists()
    assert done.tables["projects.ProjectMember"].left_out == 2
    assert value_of(command, cast.backend, "stripe") == f"{SECRET}2".encode()


def test_a_name_that_is_taken_meanwhile_stays_with_whom_it_has(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    Config.objects.filter(key="url").delete()
    set_config(actor=command, service=full_cast.backend, key="url", value="ours")

    done = restore(actor=command, path=archive)

    assert Config.objects.get(key="url").versions.get().text == "ours"
    assert done.tables["vault.Config"].left_out == done.tables["vault.ConfigVersion"].left_out == 1


def test_a_secret_whose_data_key_was_destroyed_here_is_left_out_whole(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    key = DataKey.objects.get(project_id=full_cast.project.pk)
    Secret.objects.filter(service__project=full_cast.project).delete()
    DataKey.objects.filter(pk=key.pk).update(state=KeyState.DESTROYED, wrapped_key=b"")

    done = restore(actor=command, path=archive)

    assert not Secret.objects.filter(service__project=full_cast.project).exists()
    assert done.tables["vault.Secret"].left_out == 3
    assert DataKey.objects.get(pk=key.pk).state == KeyState.DESTROYED


def test_a_data_key_that_is_not_here_opens_and_seals_no_more(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    key = DataKey.objects.get(project_id=cast.project.pk)
    Secret.objects.filter(service__project=cast.project).delete()
    DataKey.objects.filter(pk=key.pk).delete()
    keys.forget_all()
    current = keys.create_data_key(tenant_id=cast.tenant.pk, project_id=cast.project.pk)

    restore(actor=command, path=archive)

    assert DataKey.objects.get(pk=key.pk).state == KeyState.RETIRING
    assert DataKey.objects.get(state=KeyState.CURRENT, project_id=cast.project.pk).pk == current.pk
    assert value_of(command, cast.backend, "stripe") == f"{SECRET}2".encode()


def test_a_tenant_that_was_purged_comes_back_with_its_key(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    purge(cast)

    done = restore(actor=command, path=archive)

    assert done.total("left_out") == 0
    assert value_of(command, cast.backend, "stripe") == f"{SECRET}2".encode()
    assert verify_vault().failed == []
    # The people stayed, and so did what they log in with.
    assert User.objects.get(email="alice@example.org").has_usable_password()
    assert AuditEvent.objects.filter(action="operator.created").count() == 9 + 1


def purge(cast: Cast) -> None:
    """What is left of a tenant after its thirty days: keys without bytes, and events."""
    Service.objects.filter(project=cast.project).update(umbrella=None)
    Service.objects.filter(project=cast.project).delete()
    Project.objects.filter(pk=cast.project.pk).delete()
    robot = ServiceAccount.objects.get()
    robot.delete()
    robot.user.delete()
    Tenant.objects.filter(pk=cast.tenant.pk).delete()
    DataKey.objects.filter(tenant_id=cast.tenant.pk).update(state=KeyState.DESTROYED, wrapped_key=b"")


def test_a_project_that_was_purged_alone_stays_away_though_its_events_are_gone(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    cast = full_cast
    Service.objects.filter(project=cast.project).update(umbrella=None)
    Service.objects.filter(project=cast.project).delete()
    Project.objects.filter(pk=cast.project.pk).delete()
    DataKey.objects.filter(tenant_id=cast.tenant.pk).update(state=KeyState.DESTROYED, wrapped_key=b"")

    done = restore(actor=command, path=archive)

    assert not Project.objects.filter(tenant=cast.tenant).exists()
    assert done.total("added") == 0


def test_people_are_known_by_address_and_lose_nothing(full_cast: Cast, archive: Path, command: Actor) -> None:
    empty_database()
    other = User.objects.create(email="alice@example.org", is_superuser=True, name="Alice of here")
    other.set_password("her own password")
    other.save()
    # Somebody else has the id that Mona had.
    taken = User.objects.create(id=full_cast.users["mona"].pk, email="nobody@example.org")

    done = restore(actor=command, path=archive)

    alice = User.objects.get(pk=other.pk)
    assert (alice.is_superuser, alice.name) == (True, "Alice of here")
    assert alice.check_password("her own password")
    assert ProjectMember.objects.get(user=alice).role == "owner"
    assert not ProjectMember.objects.filter(user=taken).exists()
    assert ProjectMember.objects.get(user__email="mona@example.org").role == "manager"
    assert (done.tables["tenancy.User"].added, done.tables["tenancy.User"].present) == (7, 1)


def test_a_persons_account_never_becomes_automation(
    full_cast: Cast, archive: Path, command: Actor, tmp_path: Path
) -> None:
    forge(
        archive,
        tmp_path / "forged",
        lambda it: it.row("tenancy.User", is_service_account=True).update(email="sue@example.org"),
    )
    empty_database()
    User.objects.create(email="sue@example.org", is_superuser=True)
    before = count_rows()

    with pytest.raises(ArchiveIsInTheWay):
        restore(actor=command, path=tmp_path / "forged", trust_foreign=True)

    assert count_rows() == before


def test_an_archive_cannot_reach_into_another_tenants_project(
    full_cast: Cast, archive: Path, command: Actor, tmp_path: Path
) -> None:
    """The forged project has the id of one that lives here, and the archive a service for it."""
    theirs, ours = str(full_cast.other_project.pk), str(full_cast.project.pk)

    def reach(it: Any) -> None:
        for label, column in (
            ("projects.Project", "id"),
            ("projects.ProjectMember", "project_id"),
            ("projects.AddOn", "project_id"),
            ("projects.ProjectGrant", "content_object_id"),
            ("services.Service", "project_id"),
            ("core.DataKey", "project_id"),
        ):
            for row in it.tables[label]:
                assert row[column] == ours
                row[column] = theirs

    def keyless(it: Any) -> None:
        reach(it)
        it.tables["core.DataKey"].clear()
        it.tables["vault.SecretVersion"].clear()

    forge(archive, tmp_path / "forged", keyless)
    theirs_before = list(ProjectMember.objects.filter(project=full_cast.other_project))

    # Where the tenant lives, its services are known to be of another project.
    before = count_rows()
    with pytest.raises(ArchiveIsInTheWay):
        restore(actor=command, path=tmp_path / "forged", trust_foreign=True)
    assert count_rows() == before
    # Where it does not, the project's id is taken.
    purge(full_cast)
    before = count_rows()
    with pytest.raises(ArchiveIsDamaged):
        restore(actor=command, path=tmp_path / "forged", trust_foreign=True)
    assert count_rows() == before
    assert list(ProjectMember.objects.filter(project=full_cast.other_project)) == theirs_before


def test_a_deleted_tenant_and_a_taken_slug_are_in_the_way(
    full_cast: Cast, archive: Path, command: Actor
) -> None:
    now = timezone.now()
    Tenant.objects.filter(slug="acme").update(deleted_at=now, purge_after=now)
    with pytest.raises(Conflict, match="was deleted here"):
        restore(actor=command, path=archive)

    empty_database()
    Tenant.objects.create(slug="acme", name="another")
    with pytest.raises(AlreadyExists):
        restore(actor=command, path=archive)
    assert Tenant.objects.get().name == "another"


def test_caps_hold_for_what_comes_back(full_cast: Cast, archive: Path, command: Actor) -> None:
    Secret.objects.filter(key="stripe").delete()
    Project.objects.filter(pk=full_cast.project.pk).update(tier="free")
    before = count_rows()

    with pytest.raises(Conflict, match="more than its tier allows"):
        restore(actor=command, path=archive)

    assert count_rows() == before


def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is restored from now on was signed by another installation."""
    monkeypatch.setattr(ArchiveReader, "is_foreign", lambda self: True)


def new_child(it: Document, pk: str) -> None:
    """A forged child of the living umbrella, with rights on it for one who has none."""
    child = it.row("services.Service", slug="checkout")
    it.tables["services.Service"].append({**child, "id": pk, "slug": "evil"})
    (grant,) = it.tables["services.ServiceGrant"]
    vic = it.row("tenancy.User", email="vic@example.org")["id"]
    more = {"public_id": str(uuid4()), "content_object_id": pk, "user_id": vic, "ends_at": None}
    it.tables["services.ServiceGrant"].append({**grant, **more, "id": grant["id"] + 1000})
    for label in ("services.WorkloadIdentity", "services.ApiKey"):
        row = it.tables[label][0]
        it.tables[label].append({**row, "id": str(uuid4()), "service_id": pk})


def test_a_foreign_archive_gives_nobody_a_right_in_a_living_project(
    full_cast: Cast, archive: Path, command: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cast, pk = full_cast, str(uuid4())
    set_secret(actor=command, service=cast.umbrella, key="later", value=b"written after the archive")
    forge(archive, tmp_path / "forged", lambda it: new_child(it, pk))
    foreign(monkeypatch)

    done = restore(actor=command, path=tmp_path / "forged", trust_foreign=True, keep_credentials=True)

    service = Service.objects.get(pk=pk)
    assert service.umbrella is None
    assert done.tables["services.Service"].unlinked == done.total("unlinked") == 1
    assert AuditEvent.objects.get(action="backup.restored").changed["unlinked"] == 1
    for model in (WorkloadIdentity, ApiKey):
        assert not model.objects.filter(service=service).exists()
    assert not ServiceGrant.objects.filter(content_object=service).exists()
    assert not allows(cast.actor("vic"), "secret:reveal", service)


def test_a_lost_child_comes_back_with_its_grants_and_waits_to_be_linked(
    full_cast: Cast, archive: Path, command: Actor, tmp_path: Path
) -> None:
    cast, pk = full_cast, str(uuid4())
    forge(archive, tmp_path / "ours", lambda it: new_child(it, pk))

    done = restore(actor=command, path=tmp_path / "ours")

    assert ServiceGrant.objects.filter(content_object_id=pk).count() == 1
    assert Service.objects.get(pk=pk).umbrella is None
    assert done.total("unlinked") == 1
    # With its umbrella it comes linked, because nothing in that one is newer than the archive.
    Service.objects.filter(umbrella=cast.umbrella).delete()
    Service.objects.filter(pk=cast.umbrella.pk).delete()
    assert restore(actor=command, path=archive).total("unlinked") == 0
    assert Service.objects.get(pk=cast.child.pk).umbrella_id == cast.umbrella.pk


def test_what_a_living_service_is_cannot_be_said_otherwise(
    full_cast: Cast, archive: Path, command: Actor, tmp_path: Path
) -> None:
    before = count_rows()
    forge(
        archive,
        tmp_path / "forged",
        lambda it: it.row("services.Service", slug="web").update(kind="backend"),
    )

    with pytest.raises(ArchiveIsInTheWay):
        restore(actor=command, path=tmp_path / "forged", trust_foreign=True)

    assert count_rows() == before


def test_an_archive_from_before_what_the_audit_log_remembers_is_refused_where_the_tenant_lives(
    full_cast: Cast, archive: Path, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was removed and forgotten would come back. Below seven days nothing is ever forgotten."""
    tenant = AuditChain.objects.get(kind="tenant", tenant_id=full_cast.tenant.pk)
    AuditChain.objects.filter(pk=tenant.pk).update(pruned_through=1)
    AuditEvent.objects.filter(chain=tenant, sequence=1).delete()
    assert restore(actor=command, path=archive).total("added") == 0

    real = Header.parsed.__func__

    def aged(days: int) -> None:
        made = (timezone.now() - timedelta(days=days)).isoformat()
        monkeypatch.setattr(
            Header, "parsed", classmethod(lambda cls, data: replace(real(cls, data), created_at=made))
        )

    aged(6)
    restore(actor=command, path=archive)
    aged(8)
    before = count_rows()
    with pytest.raises(ArchiveIsTooOld, match="would come back"):
        restore(actor=command, path=archive)
    assert count_rows() == before
    # Where the tenant is not, nothing was removed from it.
    purge(full_cast)
    assert restore(actor=command, path=archive).total("left_out") == 0

"""A ciphertext opens in the row that it was sealed for, and nowhere else."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.audit.events import Action
from apps.core import crypto, keys, triggers
from apps.core.actor import Actor, Origin
from apps.core.crypto import DoesNotOpen
from apps.core.errors import MissingRootKey, Unreadable
from apps.core.models import DataKey
from apps.services.credentials import find_in_database
from apps.services.models import Kind, Service
from apps.services.operations import create_service, issue_api_key
from apps.vault.envelope import secret_binding
from apps.vault.models import Secret, SecretVersion
from apps.vault.operations import delete_secret, read_secret, set_secret
from apps.vault.verification import verify_vault
from tests.conftest import Cast

VALUE, OTHER = b"the-value-of-one", b"the-value-of-another"

KEYS = st.binary(min_size=crypto.KEY_BYTES, max_size=crypto.KEY_BYTES)


def workload(text: str) -> Actor:
    return find_in_database(text).actor(Origin())


def read(cast: Cast, key: str, service: str = "backend") -> dict[str, object]:
    return read_secret(actor=workload(cast.keys[service]), service=getattr(cast, service), key=key)


def version_of(service: Service, key: str, number: int = 1) -> SecretVersion:
    return SecretVersion.objects.get(secret__service=service, secret__key=key, version=number)


def copy_ciphertext(source: SecretVersion, target: SecretVersion) -> None:
    """What somebody with SQL can do: the bytes and the name of their key, into another row."""
    SecretVersion.objects.filter(pk=target.pk).update(sealed=source.sealed, data_key_id=source.data_key_id)


def reseal(version: SecretVersion, value: bytes) -> bytes:
    """Another ciphertext that opens in this very row, as an older backup of it would."""
    project = version.secret.service.project
    assert version.data_key_id is not None
    key = keys.opening_keys({version.data_key_id})[version.data_key_id]
    binding = secret_binding(
        key,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        service_id=version.secret.service_id,
        secret_id=version.secret_id,
        secret_type=version.type,
        version=version.version,
    )
    return crypto.seal(key.secret, value, bound_to=binding)


def to_another_secret(cast: Cast, command: Actor) -> tuple[SecretVersion, SecretVersion, str]:
    set_secret(actor=command, service=cast.backend, key="source", value=VALUE)
    set_secret(actor=command, service=cast.backend, key="target", value=OTHER)
    return version_of(cast.backend, "source"), version_of(cast.backend, "target"), cast.keys["backend"]


def to_a_later_version(cast: Cast, command: Actor) -> tuple[SecretVersion, SecretVersion, str]:
    set_secret(actor=command, service=cast.backend, key="target", value=VALUE)
    set_secret(actor=command, service=cast.backend, key="target", value=OTHER)
    first, second = (version_of(cast.backend, "target", number) for number in (1, 2))
    return first, second, cast.keys["backend"]


def to_another_service(cast: Cast, command: Actor) -> tuple[SecretVersion, SecretVersion, str]:
    set_secret(actor=command, service=cast.backend, key="target", value=VALUE)
    set_secret(actor=command, service=cast.child, key="target", value=OTHER)
    return version_of(cast.backend, "target"), version_of(cast.child, "target"), cast.keys["child"]


def to_another_project(cast: Cast, command: Actor) -> tuple[SecretVersion, SecretVersion, str]:
    theirs = create_service(
        actor=command, project=cast.other_project, environment="production", slug="api", kind=Kind.BACKEND
    )
    _, text = issue_api_key(actor=command, service=theirs)
    set_secret(actor=command, service=cast.backend, key="target", value=VALUE)
    set_secret(actor=command, service=theirs, key="target", value=OTHER)
    return version_of(cast.backend, "target"), version_of(theirs, "target"), text


@pytest.mark.parametrize(
    "place", [to_another_secret, to_a_later_version, to_another_service, to_another_project]
)
def test_a_ciphertext_copied_elsewhere_does_not_open_and_is_listed_as_failed(
    place: Callable[[Cast, Actor], tuple[SecretVersion, SecretVersion, str]], cast: Cast, command: Actor
) -> None:
    source, target, text = place(cast, command)
    assert verify_vault().failed == []

    copy_ciphertext(source, target)
    with pytest.raises(Unreadable) as refused:
        read_secret(actor=workload(text), service=target.secret.service, key="target")

    assert verify_vault().failed == [str(target.pk)]
    assert VALUE.decode() not in refused.value.detail
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("column", ["secret_id", "type", "service_id"])
def test_a_row_that_was_bent_to_another_owner_or_type_does_not_open(
    column: str, cast: Cast, command: Actor
) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE)
    set_secret(actor=command, service=cast.child, key="b", value=OTHER)
    version, other = version_of(cast.backend, "a"), version_of(cast.child, "b")

    with triggers.lifted():
        if column == "secret_id":
            SecretVersion.objects.filter(pk=other.pk).update(version=2)
            SecretVersion.objects.filter(pk=version.pk).update(secret_id=other.secret_id)
        elif column == "type":
            SecretVersion.objects.filter(pk=version.pk).update(type="file")
        else:
            Secret.objects.filter(pk=version.secret_id).update(service_id=cast.umbrella.pk)

    assert str(version.pk) in verify_vault().failed


def test_a_row_put_back_to_an_older_ciphertext_of_its_own_opens_and_is_found_all_the_same(
    cast: Cast, command: Actor
) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE)
    set_secret(actor=command, service=cast.backend, key="b", value=OTHER)
    version = version_of(cast.backend, "a")

    SecretVersion.objects.filter(pk=version.pk).update(sealed=reseal(version, b"an older one"))

    assert read(cast, "a")["value"] == "an older one"
    found = verify_vault()
    assert found.failed == [str(version.pk)]
    assert found.unanchored == 0


def test_a_secret_whose_newest_version_was_taken_away_is_found(cast: Cast, command: Actor) -> None:
    for value in (VALUE, OTHER):
        set_secret(actor=command, service=cast.backend, key="a", value=value)
    secret = Secret.objects.get(key="a")

    SecretVersion.objects.filter(secret=secret, version=2).delete()

    assert verify_vault().failed == [str(secret.pk)]


def test_a_secret_rolled_back_together_with_its_active_number_is_found(cast: Cast, command: Actor) -> None:
    for value in (VALUE, OTHER):
        set_secret(actor=command, service=cast.backend, key="a", value=value)
    secret = Secret.objects.get(key="a")

    SecretVersion.objects.filter(secret=secret, version=2).delete()
    Secret.objects.filter(pk=secret.pk).update(active_version=1)

    assert read(cast, "a")["value"] == VALUE.decode()
    assert verify_vault().failed == [str(secret.pk)]


def test_a_vault_that_nobody_touched_opens_whole_soft_deleted_secrets_included(
    cast: Cast, command: Actor
) -> None:
    for key in ("a", "b"):
        set_secret(actor=command, service=cast.backend, key=key, value=VALUE)
    set_secret(actor=command, service=cast.backend, key="a", value=OTHER)
    delete_secret(actor=command, service=cast.backend, key="b")

    found = verify_vault()

    assert (found.opened, found.failed, found.unanchored) == (3, [], 0)


def test_a_version_whose_event_is_gone_counts_as_unanchored_and_not_as_failed(
    cast: Cast, command: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE)

    monkeypatch.setattr("apps.vault.verification._WRITES", (Action.SECRET_DELETED,))

    found = verify_vault()
    assert (found.opened, found.failed, found.unanchored) == (1, [], 1)


def test_a_data_key_moved_to_another_project_does_not_open(cast: Cast, command: Actor) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE)
    ours = DataKey.objects.get(project_id=cast.project.pk)
    theirs = DataKey.objects.get(project_id=cast.other_project.pk)

    DataKey.objects.filter(pk=ours.pk).update(wrapped_key=theirs.wrapped_key)
    keys.forget_all()

    with pytest.raises(Unreadable):
        read(cast, "a")
    assert verify_vault().failed == [str(version_of(cast.backend, "a").pk)]


def test_a_missing_root_key_is_named_and_nothing_of_any_key_is_shown(cast: Cast, settings: Settings) -> None:
    present = settings.NEXUS_ROOT_KEY
    (in_use,) = keys.parse_root_keys(present)

    settings.NEXUS_ROOT_KEY = another = base64.urlsafe_b64encode(bytes(range(32))).decode()
    keys.forget_all()
    with pytest.raises(MissingRootKey) as refused:
        keys.require_all_root_keys()

    assert refused.value.root_key_ids == [in_use]
    assert in_use in refused.value.detail
    assert keys.root_key_id(bytes(range(32))) not in refused.value.detail
    assert present not in refused.value.detail
    assert another not in refused.value.detail


def test_with_the_former_root_key_beside_the_current_one_everything_opens(
    cast: Cast, command: Actor, settings: Settings
) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=VALUE)

    new = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    settings.NEXUS_ROOT_KEY = f"{new}, {settings.NEXUS_ROOT_KEY}"
    keys.forget_all()

    keys.require_all_root_keys()
    assert read(cast, "a")["value"] == VALUE.decode()
    assert next(iter(keys.root_keys())) == keys.root_key_id(bytes(range(32)))


@given(key=KEYS, value=st.binary(max_size=300), row=st.binary(max_size=100))
def test_what_was_sealed_opens_to_the_same_bytes_and_never_seals_alike(
    key: bytes, value: bytes, row: bytes
) -> None:
    sealed, again = (crypto.seal(key, value, bound_to=row) for _ in range(2))

    opened = crypto.unseal(key, sealed, bound_to=row)

    assert opened == value
    assert sealed != again
    assert len(sealed) == crypto.NONCE_BYTES + len(value) + crypto.TAG_BYTES


@given(key=KEYS, value=st.binary(max_size=50), row=st.binary(max_size=50), data=st.data())
def test_a_single_flipped_bit_anywhere_keeps_it_shut(
    key: bytes, value: bytes, row: bytes, data: st.DataObject
) -> None:
    sealed = bytearray(crypto.seal(key, value, bound_to=row))

    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(DoesNotOpen):
        crypto.unseal(key, bytes(sealed), bound_to=row)


@given(keys_of_two=st.lists(KEYS, min_size=2, max_size=2, unique=True), row=st.binary(max_size=50))
def test_another_key_or_another_row_keeps_it_shut(keys_of_two: list[bytes], row: bytes) -> None:
    mine, other = keys_of_two
    sealed = crypto.seal(mine, VALUE, bound_to=row)

    for key, bound_to in ((other, row), (mine, row + b"\0"), (mine, b"x" + row)):
        with pytest.raises(DoesNotOpen):
            crypto.unseal(key, sealed, bound_to=bound_to)

    with pytest.raises(DoesNotOpen):
        crypto.unseal(mine, sealed[: crypto.NONCE_BYTES], bound_to=row)


PARTS = st.lists(st.binary(max_size=8), max_size=5)


@given(PARTS, PARTS)
def test_two_tuples_encode_alike_only_if_they_are_alike(one: list[bytes], other: list[bytes]) -> None:
    encoded, encoded_other = crypto.length_prefixed(*one), crypto.length_prefixed(*other)

    assert (encoded == encoded_other) == (one == other)


@given(PARTS.filter(lambda parts: len(b"".join(parts)) > 1))
def test_moving_the_border_between_two_parts_changes_the_encoding(parts: list[bytes]) -> None:
    joined = b"".join(parts)

    encodings = {crypto.length_prefixed(joined[:at], joined[at:]) for at in range(len(joined) + 1)}

    assert len(encodings) == len(joined) + 1

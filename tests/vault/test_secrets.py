"""Writing secrets: versions, preconditions, rights."""

import pytest

from apps.core.errors import NotPermitted, ServiceKindMismatch, VersionConflict
from apps.vault.models import SecretVersion
from apps.vault.operations import set_secret
from tests.conftest import Cast


def test_each_write_appends_a_version_that_opens_to_what_was_written(cast: Cast) -> None:
    first = set_secret(actor=cast.actor("alice"), service=cast.backend, key="a.b", value=b"one")

    second = set_secret(actor=cast.actor("alice"), service=cast.backend, key="a.b", value=b"two")

    assert (first.version, first.created) == (1, True)
    assert (second.version, second.created) == (2, False)
    for row in SecretVersion.objects.all():
        assert b"one" not in bytes(row.sealed)
        assert b"two" not in bytes(row.sealed)


def test_a_viewer_writes_no_secret_and_nothing_is_left(cast: Cast) -> None:
    with pytest.raises(NotPermitted):
        set_secret(actor=cast.actor("vic"), service=cast.backend, key="a.b", value=b"one")

    assert not SecretVersion.objects.exists()


def test_a_frontend_has_no_secret(cast: Cast) -> None:
    with pytest.raises(ServiceKindMismatch):
        set_secret(actor=cast.actor("alice"), service=cast.frontend, key="a.b", value=b"one")


def test_a_lost_update_is_refused(cast: Cast) -> None:
    set_secret(actor=cast.actor("alice"), service=cast.backend, key="a", value=b"one")
    set_secret(actor=cast.actor("mona"), service=cast.backend, key="a", value=b"two")

    with pytest.raises(VersionConflict):
        set_secret(actor=cast.actor("alice"), service=cast.backend, key="a", value=b"3", expected_version=1)
    with pytest.raises(VersionConflict):
        set_secret(actor=cast.actor("alice"), service=cast.backend, key="a", value=b"3", only_create=True)

    assert SecretVersion.objects.count() == 2

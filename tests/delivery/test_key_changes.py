"""What happens to a key in the management API is what delivery's memory knows next."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.services.models import ApiKey
from apps.services.operations import change_api_key, end_api_key, rotate_api_key
from tests.conftest import Cast
from tests.delivery.client import PEER, delivering

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "reader"])


def test_a_changed_allow_list_and_expiry_are_seen_at_the_next_look(committed_cast: Cast) -> None:
    mona = committed_cast.actor("mona")
    key = ApiKey.objects.select_related("service__project__tenant").get(service=committed_cast.backend)
    text = committed_cast.keys["backend"]

    with delivering() as client:
        statuses = [client.get(key=text).status]
        for networks in (["198.51.100.0/24"], [f"{PEER}/32"], []):
            change_api_key(actor=mona, key=key, allowed_networks=networks)
            client.app.tailer.look()
            statuses.append(client.get(key=text).status)
        change_api_key(actor=mona, key=key, expires_at=timezone.now() + timedelta(days=1))
        client.app.tailer.look()
        (credential,) = [
            each
            for each in client.app.memory.credentials._by_digest.values()
            if each.service_id == committed_cast.backend.pk
        ]

        assert statuses == [200, 401, 200, 200]
        assert credential.expires_at is not None


def test_both_keys_of_a_rotation_are_known_until_the_old_one_ends(committed_cast: Cast) -> None:
    mona = committed_cast.actor("mona")
    key = ApiKey.objects.select_related("service__project__tenant").get(service=committed_cast.backend)
    old = committed_cast.keys["backend"]

    with delivering() as client:
        assert client.get(key=old).status == 200
        new_key, new = rotate_api_key(actor=mona, key=key)
        client.app.tailer.look()
        during = [client.get(key=text).status for text in (old, new)]
        outgoing = client.app.memory.credentials.find(old.encode())
        assert outgoing is not None
        assert outgoing.expires_at is not None
        # As if the overlap had passed, with no row and no look in between.
        outgoing.expires_at = timezone.now().timestamp() - 1
        after = [client.get(key=text).status for text in (old, new)]

        _, third = rotate_api_key(actor=mona, key=new_key, overlap_seconds=0)
        client.app.tailer.look()
        at_once = [client.get(key=text).status for text in (old, new, third)]
        end_api_key(actor=mona, key=ApiKey.objects.get(service=committed_cast.backend, revoked_at=None))
        client.app.tailer.look()

        assert during == [200, 200]
        assert after == [401, 200]
        assert at_once == [401, 401, 200]
        assert client.get(key=third).status == 401

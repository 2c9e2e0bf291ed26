"""One's own access tokens in the console."""

import re
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.tenancy.automation import issue_access_token
from apps.tenancy.models import AccessToken
from tests.conftest import Cast
from tests.console.session import absent, signed_in

LIST, NEW = "/admin/access-tokens/", "/admin/access-tokens/new/"
FORM = {"name": "deploys", "days": "30", "scopes": ["config:read", "config:write"]}


def test_a_token_is_made_shown_once_used_and_revoked(cast: Cast) -> None:
    client = signed_in(cast, "mona")

    made = client.post(NEW, FORM)
    found = re.search(r"nxp_[0-9a-f]{64}", made.content.decode())
    assert found
    robot = Client(headers={"Authorization": f"Bearer {found[0]}"})
    works = robot.get("/api/v1/manage/tenants").status_code
    listed = client.get(LIST).content.decode()
    token = AccessToken.objects.get()
    revoked = client.post(f"/admin/access-tokens/{token.pk}/revoke/")

    assert "no-store" in made["Cache-Control"]
    assert works == 200
    assert "deploys" in listed
    assert token.last4 in listed
    assert found[0] not in listed
    assert token.scopes == ["config:read", "config:write"]
    assert revoked["Location"] == LIST
    assert robot.get("/api/v1/manage/tenants").status_code == 401
    actions = set(AuditEvent.objects.filter(object_id=str(token.pk)).values_list("action", flat=True))
    assert actions == {"access_token.issued", "access_token.revoked"}


def test_making_one_asks_for_presence_and_offers_only_what_one_holds(cast: Cast) -> None:
    away = absent(signed_in(cast, "vic"))
    asked = away.get(NEW)
    posted = away.post(NEW, FORM)
    client = signed_in(cast, "vic")

    page = client.get(NEW).content.decode()
    refused = client.post(NEW, {**FORM, "scopes": ["secret:reveal"]})

    assert asked["Location"].startswith("/admin/presence/")
    assert posted["Location"].startswith("/admin/presence/")
    assert 'value="config:read"' in page
    assert 'value="config:write"' not in page
    assert 'value="member:manage"' not in page
    assert refused.status_code == 422
    assert not AccessToken.objects.exists()


def test_nobody_sees_or_revokes_somebody_elses(cast: Cast) -> None:
    token, _ = issue_access_token(
        actor=cast.actor("mona"),
        bearer=cast.users["mona"],
        name="zyx-token",
        scopes=["config:read"],
        expires_at=timezone.now() + timedelta(days=1),
    )
    client = signed_in(cast, "carol")

    listed = client.get(LIST).content.decode()
    revoked = client.post(f"/admin/access-tokens/{token.pk}/revoke/")

    assert "zyx-token" not in listed
    assert revoked.status_code == 404
    assert AccessToken.objects.get().revoked_at is None

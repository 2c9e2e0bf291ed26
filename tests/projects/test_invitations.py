"""Invitations: who sends them, what their mail carries, and who gets in by it."""

import base64
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core import outbox
from apps.core.access import ProjectRole, TenantRole
from apps.core.actor import Actor
from apps.core.errors import NexusError
from apps.core.models import OutboxMessage
from apps.projects.invitations import accept_invitation, create_invitation, join_by_invitation
from apps.projects.models import ProjectMember
from apps.projects.operations import change_tier, create_project, remove_project_member, set_project_member
from apps.tenancy.invitations import token_of
from apps.tenancy.models import Invitation, TenantMember, User
from apps.tenancy.operations import create_operator
from tests.conftest import Cast
from tests.console.session import PASSWORD, found, sign_in
from tests.projects.manage import send, session_client, token_client, without_request_id

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]
PAGE = "/accounts/invitation/"
NEW_PASSWORD = "seven unlikely otters dance"
PEOPLE = ["alice", "mona", "bob", "tess", "vic", "carol", "finn", "mallory", "sue"]
SEES_TENANT = {"alice", "mona", "bob", "tess", "vic", "carol", "finn"}
SEES_PROJECT = SEES_TENANT - {"finn"}


def invited(cast: Cast, by: str = "mona", email: str = "new@example.org", **more: Any) -> Invitation:
    given: dict[str, Any] = {"project": cast.project, "project_role": ProjectRole.TESTER, **more}
    return create_invitation(actor=cast.actor(by), tenant=cast.tenant, email=email, **given)


def account(email: str = "new@example.org") -> User:
    user, _ = create_operator(actor=Actor.command("tester"), email=email, must_change_password=False)
    user.set_password(PASSWORD)
    user.save()
    return user


def accept(user: User, token: str) -> Any:
    client = Client()
    client.force_login(user)
    return send(client, "post", "invitations/accept", {"token": token})


# ---- who sends


@pytest.mark.parametrize("name", PEOPLE)
def test_who_invites_to_what(cast: Cast, name: str) -> None:
    client = session_client(cast, name)
    path = f"tenants/{cast.tenant.pk}/invitations"
    project = {"email": "new@example.org", "project": str(cast.project.pk)}
    outside = 403 if name in SEES_TENANT else 404
    inside = 403 if name in SEES_PROJECT else 404
    answers = {}

    for role in ("owner", "finance", "member"):
        answers[f"tenant {role}"] = send(client, "post", path, {"email": f"{role}@example.org", "role": role})
    for role in ("owner", "manager", "developer", "tester", "viewer"):
        answers[role] = send(
            client, "post", path, {**project, "email": f"p-{role}@example.org", "project_role": role}
        )
    answers["with tenant role"] = send(
        client, "post", path, {**project, "role": "finance", "project_role": "viewer"}
    )
    listed = send(client, "get", path)

    # By hand from SPEC 3.
    may = {
        "carol": set(answers),
        "alice": {"owner", "manager", "developer", "tester", "viewer"},
        "mona": {"developer", "tester", "viewer"},
    }.get(name, set())
    for what, answer in answers.items():
        refused = outside if what.startswith("tenant ") else inside
        assert answer.status_code == (201 if what in may else refused), what
    assert listed.status_code == (200 if may else outside)
    if may:
        assert len(listed.json()["results"]) == len(may)


def test_an_invitation_is_told_and_its_token_stands_nowhere(cast: Cast) -> None:
    body = {"email": "New@Example.org", "project": str(cast.project.pk), "project_role": "tester"}
    path = f"tenants/{cast.tenant.pk}/invitations"
    client = session_client(cast, "mona")

    made = send(client, "post", path, body, **{"Idempotency-Key": "k"})
    replay = send(client, "post", path, body, **{"Idempotency-Key": "k"})
    twice = send(client, "post", path, body)
    outbox.sweep()

    assert made.status_code == 201, made.content
    assert made.json() == replay.json()
    assert (twice.status_code, twice.json()["code"]) == (409, "already_exists")
    assert (made.json()["email"], made.json()["state"]) == ("new@example.org", "pending")
    message = OutboxMessage.objects.get(topic="invitation")
    assert message.payload == {"invitation": made.json()["id"]}
    event = AuditEvent.objects.get(action="invitation.created")
    assert (event.project_id, event.object_key) == (cast.project.pk, "new@example.org")
    assert len(mail.outbox) == 1
    text = str(mail.outbox[0].body)
    assert mail.outbox[0].to == ["new@example.org"]
    token = found(r"http://testserver/accounts/invitation/\?token=(nxi_[A-Za-z0-9_-]{64})\s", text)
    row = Invitation.objects.get()
    assert token == token_of(row)
    for stored in (
        str(message.payload),
        event.changes,
        made.content.decode(),
        str(Invitation.objects.values().get()),
    ):
        assert token not in stored
        assert "nxi_" not in stored
    assert abs(row.expires_at - timezone.now() - timedelta(days=7)) < timedelta(minutes=1)


def test_what_is_not_sent(cast: Cast) -> None:
    client = session_client(cast, "carol")
    path = f"tenants/{cast.tenant.pk}/invitations"
    project = {"project": str(cast.project.pk), "project_role": "viewer"}

    def code(body: dict[str, Any]) -> tuple[int, str]:
        answer = send(client, "post", path, body)
        return answer.status_code, answer.json()["code"]

    assert code({"email": "carol@example.org"}) == (403, "not_permitted")
    assert code({"email": "finn@example.org"}) == (409, "already_exists")
    assert code({"email": "bob@example.org", **project}) == (409, "already_exists")
    assert code({"email": "x@example.org", "project": str(cast.project.pk)}) == (422, "invalid_input")
    assert code({"email": "x@example.org", "project_role": "viewer"}) == (422, "invalid_input")
    assert code({"email": "no address"}) == (422, "invalid_input")
    assert code({"email": "x@example.org", "role": "king"}) == (422, "invalid_input")
    foreign = {"project": str(cast.other_project.pk), "project_role": "viewer"}
    assert code({"email": "x@example.org", **foreign}) == (404, "not_found")
    tokened = token_client(cast, "carol", "tenant:read", "project:read")
    assert send(tokened, "post", path, {"email": "x@example.org"}).status_code == 403
    assert not Invitation.objects.exists()
    assert not OutboxMessage.objects.exists()


def test_who_sees_and_revokes_which(cast: Cast, command: Actor) -> None:
    other = create_project(actor=command, tenant=cast.tenant, slug="other", tier="m")
    to_tenant = invited(cast, "carol", "a@example.org", project=None, project_role=None)
    to_owner = invited(cast, "alice", "b@example.org", project_role=ProjectRole.OWNER)
    to_other = invited(cast, "carol", "c@example.org", project=other)
    mine = invited(cast, "mona", "d@example.org")
    path = f"tenants/{cast.tenant.pk}/invitations"
    mona, carol = session_client(cast, "mona"), session_client(cast, "carol")

    seen = {each["email"] for each in send(mona, "get", path).json()["results"]}
    all_of_them = {each["email"] for each in send(carol, "get", path).json()["results"]}

    assert seen == {"b@example.org", "d@example.org"}
    assert all_of_them == {"a@example.org", "b@example.org", "c@example.org", "d@example.org"}
    assert send(mona, "get", f"{path}/{to_tenant.pk}").status_code == 404
    assert send(mona, "delete", f"{path}/{to_other.pk}").status_code == 404
    assert send(mona, "delete", f"{path}/{to_owner.pk}").status_code == 403
    assert send(session_client(cast, "bob"), "delete", f"{path}/{mine.pk}").status_code == 404
    assert send(session_client(cast, "mallory"), "delete", f"{path}/{mine.pk}").status_code == 404
    assert send(carol, "delete", f"tenants/{cast.other_tenant.pk}/invitations/{mine.pk}").status_code == 404
    assert send(mona, "delete", f"{path}/{mine.pk}", **{"If-Match": '"9"'}).status_code == 412
    assert send(mona, "delete", f"{path}/{mine.pk}").status_code == 204
    again = send(mona, "delete", f"{path}/{mine.pk}")
    assert (again.status_code, again.json()["code"]) == (409, "already_used")
    assert [each["email"] for each in send(mona, "get", f"{path}?state=pending").json()["results"]] == [
        "b@example.org"
    ]
    assert [each["state"] for each in send(mona, "get", f"{path}?state=revoked").json()["results"]] == [
        "revoked"
    ]
    assert AuditEvent.objects.filter(action="invitation.revoked").count() == 1


def test_a_revoked_or_vanished_invitation_is_not_mailed(cast: Cast) -> None:
    invitation = invited(cast)
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])

    outbox.sweep()

    assert mail.outbox == []
    assert OutboxMessage.objects.get().delivered_at is not None


# ---- who gets in


def test_the_invited_person_gets_in_once(cast: Cast) -> None:
    invitation, user = invited(cast), account()

    first = accept(user, token_of(invitation))
    second = accept(user, token_of(invitation))

    assert first.status_code == 200, first.content
    assert first.json() == {
        "tenant": str(cast.tenant.pk),
        "role": "member",
        "project": str(cast.project.pk),
        "project_role": "tester",
    }
    assert (second.status_code, second.json()["code"]) == (409, "already_used")
    assert ProjectMember.objects.get(user=user).role == "tester"
    assert TenantMember.objects.get(user=user).role == "member"
    told = AuditEvent.objects.filter(actor_name=user.email).order_by("sequence")
    assert list(told.values_list("action", flat=True)) == ["project_member.added", "invitation.accepted"]


def test_a_tenants_invitation_gives_its_role(cast: Cast) -> None:
    invitation = invited(cast, "carol", project=None, project_role=None, role=TenantRole.FINANCE)
    user = account()

    answer = accept(user, token_of(invitation))

    assert (answer.status_code, answer.json()["project"]) == (200, None)
    assert TenantMember.objects.get(user=user).role == "finance"
    assert not ProjectMember.objects.filter(user=user).exists()


def test_a_bad_token_and_somebody_elses_are_the_same_404(cast: Cast) -> None:
    good = token_of(invited(cast))
    data = bytearray(base64.urlsafe_b64decode(good.removeprefix("nxi_")))
    data[-1] ^= 1
    forged = "nxi_" + base64.urlsafe_b64encode(bytes(data)).decode()
    user = account()
    bad = [forged, "nxi_" + "A" * 64, "nxi_", "", good + "A", good[4:], "nxi_" + "!" * 64, "nxi_" + "é" * 64]

    by_another = accept(cast.users["bob"], good)
    answers = [accept(user, token) for token in bad]

    assert by_another.status_code == 404
    assert [answer.status_code for answer in answers if answer.status_code != 404] == [422]  # the empty one
    bodies = [without_request_id(answer) for answer in answers if answer.status_code == 404]
    assert all(body == without_request_id(by_another) for body in bodies)
    assert not ProjectMember.objects.filter(user__in=[user]).exists()


def test_a_row_that_was_edited_takes_no_token(cast: Cast) -> None:
    invitation, thief = invited(cast), account("thief@example.org")
    token = token_of(invitation)
    Invitation.objects.filter(pk=invitation.pk).update(email=thief.email)

    assert accept(thief, token).status_code == 404


def test_tokens_and_service_accounts_accept_nothing(cast: Cast) -> None:
    token = token_of(invited(cast, email="finn@example.org"))

    answer = send(token_client(cast, "finn", "tenant:read"), "post", "invitations/accept", {"token": token})

    assert answer.status_code == 403
    assert send(Client(), "post", "invitations/accept", {"token": token}).status_code == 401


@pytest.mark.parametrize(
    "what", ["expired", "revoked", "lowered", "deactivated", "removed", "project deleted"]
)
def test_what_does_not_hold_any_more_lets_nobody_in(cast: Cast, command: Actor, what: str) -> None:
    invitation, user = invited(cast), account()
    token = token_of(invitation)
    mona = cast.users["mona"]
    match what:
        case "expired":
            invitation.expires_at = timezone.now() - timedelta(seconds=1)
            invitation.save()
            token = token_of(invitation)
        case "revoked":
            Invitation.objects.update(revoked_at=timezone.now())
        case "lowered":
            # By a path that revokes nothing: the right is asked again all the same.
            ProjectMember.objects.filter(user=mona).update(role="developer")
        case "deactivated":
            User.objects.filter(pk=mona.pk).update(is_active=False)
        case "removed":
            remove_project_member(actor=command, project=cast.project, user=mona)
        case _:
            send(session_client(cast, "alice"), "delete", f"projects/{cast.project.pk}")

    answer = accept(user, token)

    assert (answer.status_code, answer.json()["code"]) == (409, "already_used")
    assert not ProjectMember.objects.filter(user=user).exists()
    assert not TenantMember.objects.filter(user=user).exists()


def test_who_is_in_already_stays_what_they_are(cast: Cast, command: Actor) -> None:
    invitation, user = invited(cast), account()
    set_project_member(actor=command, project=cast.project, user=user, role=ProjectRole.MANAGER)

    answer = accept(user, token_of(invitation))

    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert ProjectMember.objects.get(user=user).role == "manager"


def test_pending_invitations_take_no_place_and_the_cap_holds_at_acceptance(
    cast: Cast, command: Actor
) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny")
    tokens = [
        (
            account(f"p{number}@example.org"),
            token_of(invited(cast, "carol", f"p{number}@example.org", project=project)),
        )
        for number in range(4)
    ]

    answers = [accept(user, token) for user, token in tokens]
    change_tier(actor=command, project=project, tier="xs")
    later = accept(*tokens[3])

    assert [answer.status_code for answer in answers] == [200, 200, 200, 409]
    assert answers[3].json()["code"] == "quota_exceeded"
    assert later.status_code == 200


def test_accepted_by_two_at_once_it_works_once(committed_cast: Cast, in_thread: InThread) -> None:
    cast = committed_cast
    token = token_of(invited(cast))
    user = account()
    actor = Actor(type=cast.actor("bob").type, id=str(user.pk), name=user.email, user_id=user.pk)

    def attempt() -> str:
        try:
            accept_invitation(actor=actor, token=token)
        except NexusError as refusal:
            return refusal.code
        return "in"

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(in_thread(attempt)) for _ in range(2)]]

    assert sorted(outcomes) == ["already_used", "in"]
    assert AuditEvent.objects.filter(action="invitation.accepted").count() == 1


def test_joined_by_two_at_once_there_is_one_account(committed_cast: Cast, in_thread: InThread) -> None:
    cast = committed_cast
    token = token_of(invited(cast))

    def attempt() -> str:
        try:
            join_by_invitation(
                actor=Actor.anonymous(cast.actor("bob").origin),
                token=token,
                name="New",
                password=NEW_PASSWORD,
            )
        except NexusError as refusal:
            return refusal.code
        return "in"

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(in_thread(attempt)) for _ in range(2)]]

    assert sorted(outcomes) == ["already_used", "in"]
    assert User.objects.filter(email="new@example.org").count() == 1


# ---- the page


def page(client: Client, token: str) -> Any:
    return client.get(PAGE, {"token": token})


def test_looking_at_the_page_accepts_nothing(cast: Cast) -> None:
    invitation, user = invited(cast), account()
    client = sign_in(user)

    seen = page(client, token_of(invitation))
    before = ProjectMember.objects.filter(user=user).exists()
    accepted = client.post(PAGE, {"token": token_of(invitation)})

    assert seen.status_code == 200
    assert "no-store" in seen["Cache-Control"]
    assert "mona@example.org" in seen.content.decode()
    assert not before
    assert (accepted.status_code, accepted["Location"]) == (302, "/admin/")
    assert ProjectMember.objects.get(user=user).role == "tester"
    assert page(client, token_of(invitation)).status_code == 404


def test_who_has_an_account_logs_in_first_and_comes_back(cast: Cast) -> None:
    token, user = token_of(invited(cast)), account()
    client = Client()

    seen = page(client, token)
    posted = client.post(PAGE, {"token": token, "name": "x", "password": NEW_PASSWORD, "again": NEW_PASSWORD})
    link = found(r'href="(/accounts/login/\?next=[^"]+)"', seen.content.decode()).replace("&amp;", "&")
    arrived = client.post(link, {"login": user.email, "password": PASSWORD})

    assert seen.status_code == posted.status_code == 200
    assert 'name="password"' not in seen.content.decode()
    assert not ProjectMember.objects.filter(user=user).exists()
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)
    assert arrived["Location"] == f"{PAGE}?token={token}"
    assert 'type="submit"' in page(client, token).content.decode()


def test_who_has_no_account_makes_one_and_is_in(cast: Cast) -> None:
    token = token_of(invited(cast))
    client = Client()

    seen = page(client, token)
    weak = client.post(PAGE, {"token": token, "name": "New", "password": "short", "again": "short"})
    differing = client.post(PAGE, {"token": token, "name": "New", "password": NEW_PASSWORD, "again": "other"})
    none_yet = User.objects.filter(email="new@example.org").exists()
    made = client.post(PAGE, {"token": token, "name": "New", "password": NEW_PASSWORD, "again": NEW_PASSWORD})

    assert 'autocomplete="new-password"' in seen.content.decode()
    assert (weak.status_code, differing.status_code, none_yet) == (200, 200, False)
    assert NEW_PASSWORD not in differing.content.decode()
    assert (made.status_code, made["Location"]) == (302, "/accounts/login/")
    user = User.objects.get(email="new@example.org")
    assert (user.name, user.is_superuser, user.must_change_password) == ("New", False, False)
    assert ProjectMember.objects.get(user=user).role == "tester"
    told = AuditEvent.objects.filter(actor_name=user.email).values_list("action", flat=True)
    assert set(told) == {"operator.created", "project_member.added", "invitation.accepted"}
    # They are not signed in by it: they log in, as everybody does.
    assert "_auth_user_id" not in client.session
    assert send(sign_in(user, password=NEW_PASSWORD), "get", f"projects/{cast.project.pk}").status_code == 200


def test_an_account_is_not_made_where_nobody_gets_in(cast: Cast, command: Actor) -> None:
    project = create_project(actor=command, tenant=cast.tenant, slug="tiny")
    token = token_of(invited(cast, "carol", project=project))
    for name in ("alice", "mona", "bob"):
        set_project_member(actor=command, project=project, user=cast.users[name], role=ProjectRole.VIEWER)

    full = Client().post(
        PAGE, {"token": token, "name": "New", "password": NEW_PASSWORD, "again": NEW_PASSWORD}
    )

    assert full.status_code == 409
    assert not User.objects.filter(email="new@example.org").exists()


def test_the_page_is_one_404_for_whatever_is_not_ones_own(cast: Cast) -> None:
    used = invited(cast, email="used@example.org")
    Invitation.objects.filter(pk=used.pk).update(accepted_at=timezone.now())
    others = token_of(invited(cast))
    client = session_client(cast, "bob")

    answers = [page(client, token) for token in ("", "nxi_" + "A" * 64, token_of(used), others)]
    posted = client.post(PAGE, {"token": others})

    assert [each.status_code for each in (*answers, posted)] == [404] * 5
    texts = {re.sub(r'nonce="[^"]+"', "", each.content.decode()) for each in answers}
    assert len(texts) == 1
    assert "mona@example.org" not in texts.pop()


def test_bad_tokens_are_limited_per_address_and_good_ones_are_not(cast: Cast) -> None:
    token = token_of(invited(cast))
    guesser, other = Client(REMOTE_ADDR="203.0.113.5"), Client(REMOTE_ADDR="203.0.113.6")

    good = [page(guesser, token).status_code for _ in range(12)]
    bad = [page(guesser, "nxi_" + "A" * 64).status_code for _ in range(11)]

    assert good == [200] * 12
    assert bad == [404] * 10 + [429]
    assert page(other, token).status_code == 200


def test_who_owes_a_password_gives_it_first(cast: Cast) -> None:
    token, user = token_of(invited(cast)), account()
    client = sign_in(user)
    User.objects.filter(pk=user.pk).update(must_change_password=True)

    answer = client.post(PAGE, {"token": token})

    assert (answer.status_code, answer["Location"]) == (302, "/admin/password_change/")
    assert not ProjectMember.objects.filter(user=user).exists()

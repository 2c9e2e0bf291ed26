"""A right on a child alone opens nothing that lives in its umbrella."""

import json
from typing import Any

import pytest
from django.test import Client

from apps.audit.events import Action
from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.core.errors import NotPermitted
from apps.flags.operations import set_flag_state
from apps.services.models import ApiKey, Kind, Service
from apps.services.operations import create_service, issue_api_key, link_umbrella
from apps.services.operations.keys import rights_to_issue
from apps.vault.models import ConfigVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.projects.test_rights import extra
from tests.tenancy.test_manage_api import patch, post

ABOVE = "of-the-umbrella"


def grant(cast: Cast, name: str, service: Service, *permissions: str) -> None:
    for permission in permissions:
        extra(cast.users[name], permission, service)


def filled(cast: Cast, command: Actor) -> Service:
    """Entries of the umbrella and of its child, and another service with the same keys."""
    other = create_service(
        actor=command, project=cast.project, environment="develop", slug="other", kind=Kind.BACKEND
    )
    for service, prefix in ((cast.umbrella, "above"), (cast.child, "own"), (other, "above"), (other, "own")):
        value = ABOVE if prefix == "above" else "of-the-child"
        set_secret(actor=command, service=service, key=f"s.{prefix}", value=value.encode())
        set_config(actor=command, service=service, key=f"c.{prefix}", value=value)
        set_flag_state(actor=command, service=service, key=f"f.{prefix}", enabled=True)
    return other


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def transfer(client: Client, service: Service, verb: str, **body: Any) -> Any:
    return post(client, f"services/{service.pk}/{verb}", body)


def test_a_key_of_a_child_takes_the_right_to_reveal_in_its_umbrella(cast: Cast) -> None:
    grant(cast, "vic", cast.child, "api_key:issue", "secret:reveal", "secret:list")
    client = signed_in(cast, "vic")
    keys = f"services/{cast.child.pk}/api-keys"
    old = ApiKey.objects.get(service=cast.child)
    before = list(ApiKey.objects.order_by("pk").values())
    requests = (
        lambda: post(client, keys, {"slot": "secondary"}),
        lambda: post(client, f"{keys}/{old.pk}/rotate", {}),
        lambda: patch(client, f"{keys}/{old.pk}", {"allowed_networks": ["192.0.2.7"]}),
    )

    refused = [request() for request in requests]
    assert [code_of(answer) for answer in refused] == [(403, "not_permitted")] * 3
    assert list(ApiKey.objects.order_by("pk").values()) == before

    grant(cast, "vic", cast.umbrella, "secret:reveal", "secret:list")
    assert [request().status_code for request in requests] == [201, 201, 200]


def test_a_link_that_came_before_the_lock_counts(cast: Cast, command: Actor) -> None:
    grant(cast, "vic", cast.backend, "api_key:issue", "secret:reveal", "secret:list")
    at_the_door = Service.objects.select_related("project__tenant").get(pk=cast.backend.pk)
    assert {where for _, where in rights_to_issue(at_the_door, ["read"])} == {cast.backend}
    other = create_service(
        actor=command,
        project=cast.project,
        environment="production",
        slug="other",
        kind=Kind.BACKEND,
        is_umbrella=True,
    )
    link_umbrella(actor=command, service=cast.backend, umbrella=other)

    with pytest.raises(NotPermitted):
        issue_api_key(actor=cast.actor("vic"), service=at_the_door, slot="secondary")

    issue_api_key(actor=cast.actor("mona"), service=at_the_door, slot="secondary")


def test_an_export_or_promotion_of_a_child_takes_the_right_in_its_umbrella(
    cast: Cast, command: Actor
) -> None:
    other = filled(cast, command)
    grant(cast, "vic", cast.child, "secret:reveal", "secret:list")
    grant(cast, "vic", other, "secret:write", "secret:reveal", "config:write")
    # As it was written before it was looked at, or by somebody who may.
    set_config(actor=command, service=cast.child, key="c.dsn", value="x")
    ConfigVersion.objects.filter(config__key="c.dsn").update(value_json='"at {{secret:s.above}}"')
    client = signed_in(cast, "vic")
    into = {"target": str(other.pk)}
    requests = (
        lambda: transfer(client, cast.child, "export", format="json", reveal=True),
        lambda: transfer(client, cast.child, "promote", secrets=["s.above"], **into),
        lambda: transfer(client, cast.child, "promote", secrets=["s.above"], dry_run=True, **into),
        lambda: transfer(client, cast.child, "promote", configs=["c.dsn"], **into),
    )

    for request in requests:
        answer = request()
        assert code_of(answer) == (403, "not_permitted")
        assert ABOVE not in answer.content.decode()
    assert not AuditEvent.objects.filter(action=Action.SECRET_EXPORTED).exists()
    # Without what lives above, nothing is in the way.
    assert transfer(client, cast.child, "promote", configs=["c.own"], **into).status_code == 200

    grant(cast, "vic", cast.umbrella, "secret:reveal")
    assert [request().status_code for request in requests] == [200] * 4


def test_values_are_compared_only_where_both_umbrellas_may_be_revealed_too(
    cast: Cast, command: Actor
) -> None:
    other = filled(cast, command)
    for service in (cast.child, other):
        grant(cast, "vic", service, "secret:reveal", "secret:list")
    client = signed_in(cast, "vic")

    def secrets() -> Any:
        found = transfer(client, cast.child, "compare", other=str(other.pk)).json()["secrets"]
        return found["only_right"], found["same"], found["not_compared"]

    assert secrets() == (["s.above"], [], ["s.own"])
    assert not AuditEvent.objects.filter(action=Action.SECRET_REVEAL).exists()
    grant(cast, "vic", cast.umbrella, "secret:list")
    assert secrets() == ([], [], ["s.above", "s.own"])
    grant(cast, "vic", cast.umbrella, "secret:reveal")
    assert secrets() == ([], ["s.above", "s.own"], [])


def test_a_comparison_and_a_promotion_leave_out_what_lives_in_an_umbrella_that_one_may_not_read(
    cast: Cast, command: Actor
) -> None:
    other = filled(cast, command)
    for service in (cast.child, other):
        grant(cast, "finn", service, "service:read", "config:read", "flag:read", "secret:list")
    grant(cast, "finn", other, "config:write", "flag:write")
    client = signed_in(cast, "finn")

    answer = transfer(client, cast.child, "compare", other=str(other.pk))
    refused = transfer(
        client, cast.child, "promote", target=str(other.pk), configs=["c.above"], flags=["f.above"]
    )

    found = answer.json()
    for kind in ("secrets", "configs", "flags"):
        letter = kind[0]
        assert (found[kind]["only_left"], found[kind]["only_right"]) == ([], [f"{letter}.above"])
    assert found["configs"]["same"] == ["c.own"]
    assert found["flags"]["same"] == ["f.own"]
    assert code_of(refused) == (422, "invalid_input")
    assert refused.json()["errors"].keys() == {"configs.c.above"}
    assert ABOVE not in answer.content.decode() + refused.content.decode()

    grant(cast, "finn", cast.umbrella, "config:read", "flag:read")
    found = transfer(client, cast.child, "compare", other=str(other.pk)).json()
    assert (found["configs"]["same"], found["flags"]["same"]) == (["c.above", "c.own"], ["f.above", "f.own"])


def test_a_childs_own_key_and_a_command_read_what_it_inherits(cast: Cast, command: Actor) -> None:
    filled(cast, command)

    answer = Client(headers={"X-Nexus-API-Key": cast.keys["child"]}).get("/api/v1/export?format=json")
    _, text = issue_api_key(actor=command, service=cast.child, slot="secondary")

    assert json.loads(answer.content)["s.above"] == ABOVE
    assert text.startswith("sk_live_")

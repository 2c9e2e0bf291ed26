"""Every door of the management API, as somebody whom what is behind it is none of the business of."""

import json
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from apps.core.actor import Actor
from apps.core.ids import uuid7
from tests.conftest import Cast
from tests.console.session import signed_in
from tests.console.test_routes import AUDIT, World, everything, make_world, marks_of
from tests.contract.isolation import MATRIX

PREFIX = "/api/v1/manage/"
METHODS = ("get", "post", "put", "patch", "delete")
# What only counts requests or tells of them, and what a session keeps.
UNSEEN = {*AUDIT, "tenancy_user", "core_serverkey", "core_idempotencyrecord"}


def operations() -> list[str]:
    """Every operation of the schema below the prefix, as `METHOD path`."""
    schema: Any = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return [
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, item in schema["paths"].items()
        if path.startswith(PREFIX)
        for method in item
        if method in METHODS
    ]


@pytest.fixture
def world(cast: Cast, command: Actor) -> World:
    return make_world(cast, command)


def test_every_operation_of_the_schema_has_its_line_and_every_line_its_operation() -> None:
    assert sorted(MATRIX) == sorted(operations())


def filled(value: Any, ids: dict[str, str]) -> Any:
    """A body with the ids of the world in place of their names."""
    if isinstance(value, dict):
        return {name: filled(member, ids) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(element, ids) for element in value]
    return ids.get(value, value) if isinstance(value, str) else value


def ask(client: Client, operation: str, path: str, body: Any) -> Any:
    method = operation.split(" ")[0].lower()
    data = None if body is None else json.dumps(body)
    more = {} if data is None else {"data": data, "content_type": "application/json"}
    return getattr(client, method)(PREFIX + path, **more)


def said(answer: Any) -> Any:
    """The body without what differs from request to request."""
    if not answer.content:
        return None
    document = answer.json()
    if isinstance(document, dict):
        document.pop("request_id", None)
    return document


def address(operation: str, ids: dict[str, str]) -> str:
    path = operation.split(" ")[1]
    scope = "tenant" if path.startswith("tenants/") else "project"
    names = {**ids, "member_id": ids[f"{scope}_member_id"], "event_id": ids[f"{scope}_event_id"]}
    kind = next((kind for kind in ("secret", "config", "flag") if f"/{kind}s/" in path), "")
    if kind:
        names["key"] = ids[f"{kind}_key"]
    return path.format_map(names)


def ids_of(world: World) -> dict[str, str]:
    raise NotImplementedError


def random_ids(real: dict[str, str]) -> dict[str, str]:
    """As many ids, of nothing; names stay names."""
    return {
        name: value if name.endswith("_key") or name == "name" else str(uuid7())
        for name, value in real.items()
    }


def test_a_stranger_finds_nothing_and_what_is_there_looks_like_what_is_not(world: World) -> None:
    client = signed_in(world.cast, "mallory")
    real = ids_of(world)
    nowhere = random_ids(real)
    marks = marks_of(world.cast)
    before = everything(without=UNSEEN)
    wrong = {}

    for operation, line in MATRIX.items():
        there = ask(client, operation, address(operation, real), filled(line.body, real))
        random = ask(client, operation, address(operation, nowhere), filled(line.body, nowhere))
        text = there.content.decode()
        told = {mark for mark in marks if mark in text}
        if there.status_code != line.mallory or told or (line.mallory >= 400 and said(there) != said(random)):
            wrong[operation] = (there.status_code, told, said(there), said(random))

    assert wrong == {}
    assert everything(without=UNSEEN) == before


def test_a_viewer_gets_what_the_matrix_says_and_changes_nothing(world: World) -> None:
    client = signed_in(world.cast, "vic")
    real = ids_of(world)
    before = everything(without=UNSEEN)

    found = {
        operation: ask(client, operation, address(operation, real), filled(line.body, real)).status_code
        for operation, line in MATRIX.items()
    }

    assert found == {operation: line.vic for operation, line in MATRIX.items()}
    assert everything(without=UNSEEN) == before


@pytest.mark.parametrize("who", ["nobody", "key", "token of nothing"])
def test_nobody_and_a_workloads_key_get_one_401_everywhere(world: World, who: str) -> None:
    key = world.cast.keys["backend"]
    headers = {
        "nobody": {},
        "key": {"Authorization": f"Bearer {key}"},
        "token of nothing": {"Authorization": "Bearer nxp_" + "0" * 64},
    }[who]
    client = Client(headers=headers)
    real = ids_of(world)
    before = everything(without=UNSEEN)

    answers = {
        operation: ask(client, operation, address(operation, real), filled(line.body, real))
        for operation, line in MATRIX.items()
    }

    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({json.dumps(said(answer), sort_keys=True) for answer in answers.values()}) == 1
    assert everything(without=UNSEEN) == before

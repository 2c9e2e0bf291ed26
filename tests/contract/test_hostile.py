"""Bodies made to hurt, at every door of /manage that takes one: a problem, nothing stored or repeated."""

import json
from typing import Any

import pytest
from django.test import Client

from apps.core.actor import Actor
from tests.conftest import Cast
from tests.console.test_routes import World, everything, make_world
from tests.contract.isolation import MATRIX
from tests.contract.test_fuzz import SESSION, doors
from tests.contract.test_isolation import PREFIX, address, filled

CANARY = "zq-canary-of-hostility"
DEEP = b"[" * 10_000 + b"]" * 10_000
TEN_MEGABYTES = b'{"x": "' + CANARY.encode() + b"y" * 10_000_000 + b'"}'
JSON = "application/json"


@pytest.fixture
def world(cast: Cast, command: Actor) -> World:
    return make_world(cast, command)


def hostile(body: dict[str, Any], member: str) -> dict[str, tuple[bytes, str, set[int]]]:
    """Each with its content type and the statuses that may answer. `member` is one that the shape has."""
    sound = json.dumps({**body, member: CANARY}).encode()[:-1]
    canary = f'"{CANARY}"'.encode()
    name = json.dumps(member).encode()

    def beside(text: bytes) -> bytes:
        return sound + b", " + text + b"}"

    # U+0430 looks like an a, and the others have their own.
    homoglyph = member.translate({ord("a"): "\u0430", ord("e"): "\u0435", ord("o"): "\u043e"})
    if homoglyph == member:
        homoglyph = "\u0430" + member
    found = {
        "a member twice": (beside(name + b": " + canary), JSON, {422}),
        "NaN": (beside(b'"x": NaN'), JSON, {422}),
        "infinity": (beside(b'"x": -Infinity'), JSON, {422}),
        "beyond a double": (beside(b'"x": 1e999'), JSON, {422}),
        "half a surrogate": (beside(b'"x": "\\ud800"'), JSON, {422}),
        "half a surrogate as a name": (beside(b'"\\udfff": 1'), JSON, {422}),
        "NUL in a name": (beside(b'"x\\u0000": 1'), JSON, {422}),
        "NUL in a name that is known": (beside(name[:-1] + b'\\u0000": 1'), JSON, {422}),
        "a name that looks known": (beside(json.dumps(homoglyph).encode() + b": " + canary), JSON, {422}),
        "an unknown name": (beside(canary + b": 1"), JSON, {422}),
        "too deep": (beside(b'"x": ' + DEEP), JSON, {400}),
        "too deep, and nothing else": (DEEP, JSON, {400}),
        "ten megabytes": (TEN_MEGABYTES, JSON, {413}),
        "no UTF-8": (beside(b'"x": "\xff"'), JSON, {400}),
        "cut off": (sound, JSON, {400}),
        "two documents": (beside(b'"x": 1') + b"{}", JSON, {400}),
        "an array": (b"[" + canary + b"]", JSON, {422}),
        "an empty array": (b"[]", JSON, {422}),
        "a text": (canary, JSON, {422}),
        "a number": (b"7", JSON, {422}),
        "zero": (b"0", JSON, {422}),
        "false": (b"false", JSON, {422}),
        "null": (b"null", JSON, {422}),
        "a form": (f"{member}={CANARY}".encode(), "application/x-www-form-urlencoded", {415}),
        "a plain text": (beside(b'"x": 1'), "text/plain", {415}),
        "XML": (f"<a>{CANARY}</a>".encode(), "application/xml", {415}),
    }
    return found


def send(client: Client, operation: str, path: str, body: bytes, content_type: str) -> Any:
    method = operation.split(" ")[0]
    return client.generic(method, PREFIX + path, body, content_type=content_type)


def test_a_hostile_body_is_a_problem_everywhere_and_leaves_nothing(world: World) -> None:
    wrong: dict[str, Any] = {}
    before: dict[str, Any] | None = None
    tried = 0
    for operation, members, client, ids in doors(world):
        if not members:
            continue
        before = before or everything(without=SESSION)
        path, line = address(operation, ids), MATRIX[operation]
        body: dict[str, Any] = filled(line.body, ids)
        cases = hostile(body, sorted(members)[0])
        if not line.optional:
            cases["nothing"] = (b"", JSON, {422})
            cases["no members"] = (b"{}", JSON, {422})
        # Each member as something else than it is.
        for member in members:
            cases[f"{member} is an object"] = (
                # What a definition has too much is named: it holds no secret.
                json.dumps(
                    {**body, member: {"type" if member == "definition" else CANARY: [CANARY]}}
                ).encode(),
                JSON,
                {404, 422},
            )
        for member, value in body.items():
            if isinstance(value, str):
                for name, text in (("NUL", f"{CANARY}\0"), ("half", f"{CANARY}\ud800")):
                    sent = json.dumps({**body, member: text}).encode()
                    cases[f"{member} with {name}"] = (sent, JSON, {404, 422})

        for case, (sent, content_type, statuses) in cases.items():
            if member_takes_anything(operation, case):
                continue
            answer = send(client, operation, path, sent, content_type)
            tried += 1
            text = answer.content.decode()
            problem = answer.json() if answer["Content-Type"] == "application/problem+json" else {}
            if (
                answer.status_code not in statuses
                or not problem.get("code")
                or not problem.get("request_id")
                or CANARY in text
                or len(text) > 2_000
            ):
                wrong[f"{operation}: {case}"] = (answer.status_code, text[:300])

    assert wrong == {}
    assert tried > 1_000
    assert everything(without=SESSION) == before


def member_takes_anything(operation: str, case: str) -> bool:
    """What is no mistake: U+0000 in a value, which is bytes in a secret and an escape in a config."""
    return case == "value with NUL"

"""Bodies made to hurt, at the doors of entries: refused as problems, nothing stored, nothing repeated."""

import pytest
from django.db import connection

from apps.audit.models import AuditEvent
from apps.core.models import Change
from apps.flags.models import Flag
from apps.vault.models import Config, Secret, SecretVersion
from tests.conftest import Cast
from tests.vault.manage import Manage, in_service

CANARY = "zq-canary-of-hostility"
# kind: the member that carries a value, and a value around the canary
KINDS = {
    "secrets": ("value", f'"{CANARY}"'),
    "configs": ("value", f'"{CANARY}"'),
    "flags": ("definition", f'{{"metadata": {{"a": "{CANARY}"}}}}'),
}
DEEP = "[" * 10_000 + "]" * 10_000


def bodies(name: str, value: str) -> dict[str, tuple[str | bytes, str, set[int]]]:
    """What is sent: the item's members, its key, and the statuses that may answer."""
    sound = f'"{name}": {value}'
    return {
        "NaN": (f'"{name}": NaN, "description": "{CANARY}"', "a", {422}),
        "infinity": (f'"{name}": 1e999, "description": "{CANARY}"', "a", {422}),
        "a member twice": (f"{sound}, {sound}", "a", {422}),
        "a lone surrogate": (f'"{name}": "{CANARY}\\ud800"', "a", {422}),
        "a lone surrogate as a name": (f'{sound}, "{CANARY}\\udfff": 1', "a", {422}),
        "NUL in the description": (f'{sound}, "description": "{CANARY}\\u0000"', "a", {422}),
        "a long description": (f'{sound}, "description": "{CANARY * 50}"', "a", {422}),
        "an unknown member": (f'{sound}, "{CANARY}": 1', "a", {422}),
        "too deep": (f'"{name}": {DEEP}, "description": "{CANARY}"', "a", {400}),
        "no UTF-8": (f'"{name}": "{CANARY}'.encode() + b'\xff"', "a", {400}),
        "ten megabytes": (f'"{name}": "{CANARY}{"x" * 10_000_000}"', "a", {413}),
        "NUL in the key": (sound, "a\\u0000", {422}),
        "a homoglyph": (sound, "\\u0430bc", {422}),
        "a key of a KB": (sound, "k" * 1_024, {422}),
        "an empty key": (sound, "", {422}),
        "a line break in the key": (sound, "a\\n", {422}),
        "no key but a number": (sound, "1", {422}),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_body_is_a_problem_and_leaves_nothing(cast: Cast, kind: str) -> None:
    mona, path = Manage(cast, "mona"), in_service(cast.backend, kind)
    name, value = KINDS[kind]
    events, changes = AuditEvent.objects.count(), Change.objects.count()

    for case, (members, key, statuses) in bodies(name, value).items():
        inner = members if isinstance(members, bytes) else members.encode()
        item = b'{"key": "' + key.encode() + b'", ' + inner + b"}"
        sent = [("post", path, item), ("patch", path, b'{"write": [' + item + b"]}")]
        if key == "a":
            sent.append(("put", f"{path}/a", b"{" + inner + b"}"))
        for method, address, body in sent:
            answer = mona.ask(method, address, body)
            assert answer.status_code in statuses, (case, method, answer.content[:300])
            text = answer.content.decode()
            assert CANARY not in text and "xxxx" not in text, (case, method)
            assert len(text) < 2_000, (case, method)

    for model in (Secret, SecretVersion, Config, Flag):
        assert not model.objects.exists()
    assert (AuditEvent.objects.count(), Change.objects.count()) == (events, changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_key_in_the_address_finds_and_makes_nothing(cast: Cast, kind: str) -> None:
    mona, path = Manage(cast, "mona"), in_service(cast.backend, kind)
    name, value = KINDS[kind]

    for key in ("%D0%B0bc", "a%00", "a%0A", "k" * 300, "..%2F..%2Fa", "a%20b", "1a", "%ED%A0%80", "a'--"):
        for method in ("get", "put", "delete"):
            body = f'{{"{name}": {value}}}' if method == "put" else None
            answer = mona.ask(method, f"{path}/{key}", body)
            assert answer.status_code in (404, 422), (method, key, answer.content[:200])
            assert CANARY not in answer.content.decode()
    assert not any(model.objects.exists() for model in (Secret, Config, Flag))


def test_a_hostile_reveal_reveals_nothing(cast: Cast) -> None:
    mona, path = Manage(cast, "mona"), in_service(cast.backend, "secrets")
    mona.ask("put", f"{path}/a", {"value": CANARY})

    for body in (
        '{"version": NaN}',
        '{"version": 0}',
        '{"version": -1}',
        '{"version": 1e3}',
        '{"version": 99999999999999999999}',
        '{"version": 2147483648}',
        '{"version": [1]}',
        '{"version": 1, "version": 1}',
        '{"versions": 1}',
        DEEP,
        "[]",
        "1",
    ):
        answer = mona.ask("post", f"{path}/a/reveal", body)
        assert answer.status_code in (400, 404, 422), body[:40]
        assert CANARY not in answer.content.decode()
    assert not AuditEvent.objects.filter(action="secret.reveal").exists()
    assert mona.ask("post", f"{path}/a%00/reveal").status_code == 404
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # the transaction is whole: no statement of those failed in it

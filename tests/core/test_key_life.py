"""Root keys and server keys are replaced, and nothing that the former ones made is lost."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from apps.audit.events import Action
from apps.audit.models import AuditChain, AuditEvent
from apps.audit.operations import record
from apps.audit.targets import Target
from apps.audit.verification import sign_heads, verify
from apps.core import idempotency, keys
from apps.core.actor import Actor
from apps.core.errors import (
    IdempotencyKeyReused,
    InvalidCredential,
    InvalidInput,
    MissingRootKey,
    NotPermitted,
)
from apps.core.idempotency import Answer
from apps.core.models import DataKey, IdempotencyRecord, KeyState, Purpose, ServerKey
from apps.core.progress import Progress
from apps.services.credentials import find_in_database
from apps.services.operations import issue_api_key, revoke_api_key
from apps.tenancy.automation import issue_access_token
from apps.tenancy.tokens import good_token
from apps.vault import key_rotation
from apps.vault.key_rotation import rotate_root_key, rotate_server_key
from apps.vault.operations import set_secret
from apps.vault.verification import verify_vault
from nexus.console import mfa
from tests.architecture.test_canary import cells, files, redis_entries
from tests.conftest import Cast
from tests.delivery.client import delivering

NEW_ROOT = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
NEW_ROOT_ID = keys.root_key_id(bytes(range(32)))

InThread = Callable[[Callable[[], Any]], Callable[[], Any]]


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the object on standard output, and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(*arguments, "--json", stdout=out, stderr=err)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(out.getvalue()), err.getvalue()


def wrapped_total() -> int:
    return ServerKey.objects.count() + DataKey.objects.count()


# ---- root keys


def test_every_key_moves_under_the_new_root_key_and_the_former_may_go(
    cast: Cast, command: Actor, settings: Settings
) -> None:
    set_secret(actor=command, service=cast.backend, key="a", value=b"value")
    former = settings.NEXUS_ROOT_KEY
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{former}"
    keys.forget_all()

    code, counts, err = run("rotate_root_key")
    again = run("rotate_root_key")
    settings.NEXUS_ROOT_KEY = NEW_ROOT
    keys.forget_all()

    assert (code, counts, err) == (0, {"rewrapped": wrapped_total(), "left": 0}, "")
    assert again[:2] == (0, {"rewrapped": 0, "left": 0})
    keys.require_all_root_keys()
    keys.create_missing_server_keys()
    assert verify_vault().failed == []
    assert find_in_database(cast.keys["backend"])
    assert verify(AuditChain.objects.all()).first_bad is None
    # And the other way round: without the new one nothing starts, and its id is named.
    settings.NEXUS_ROOT_KEY = former
    with pytest.raises(MissingRootKey) as refused:
        keys.require_all_root_keys()
    assert refused.value.root_key_ids == [NEW_ROOT_ID]


def test_each_batch_stands_in_the_installations_chain(cast: Cast, command: Actor, settings: Settings) -> None:
    (former_id,) = keys.root_keys()
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{settings.NEXUS_ROOT_KEY}"

    done = rotate_root_key(actor=command)
    assert rotate_root_key(actor=command).rewrapped == 0

    events = list(AuditEvent.objects.filter(action="root_key.rotated").order_by("sequence"))
    assert sum(event.count for event in events) == done.rewrapped
    assert {event.chain.scope for event in events} == {"installation"}
    assert [event.changed["kind"] for event in events] == ["serverkey", "datakey"]
    assert all(event.changed["root_key"] == [[former_id], NEW_ROOT_ID] for event in events)


def test_a_run_that_was_killed_goes_on_where_it_was(
    cast: Cast, command: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create_missing_server_keys()
    total = wrapped_total()
    monkeypatch.setattr(key_rotation, "BATCH", 2)
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{settings.NEXUS_ROOT_KEY}"
    calls = []

    def dying(**arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return record(**arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(key_rotation, "record", dying)
        rotate_root_key(actor=command)
    # The batch whose event was not written was not stored either.
    assert ServerKey.objects.filter(root_key_id=NEW_ROOT_ID).count() == 4
    found = rotate_root_key(actor=command)

    assert (found.rewrapped, found.left) == (total - 4, 0)
    keys.forget_all()
    assert verify_vault().failed == []


def test_a_wrapping_that_changed_meanwhile_is_not_overwritten(
    cast: Cast, command: Actor, settings: Settings
) -> None:
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{settings.NEXUS_ROOT_KEY}"
    row = DataKey.objects.get(project_id=cast.project.pk)
    root_id, wrapped = keys.rewrap(row)

    DataKey.objects.filter(pk=row.pk).update(state=KeyState.DESTROYED, wrapped_key=b"")

    assert not keys.store_rewrapped(row, root_id, wrapped)
    row.refresh_from_db()
    assert bytes(row.wrapped_key) == b""


def test_a_key_that_does_not_open_is_left_and_counted(cast: Cast, settings: Settings) -> None:
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{settings.NEXUS_ROOT_KEY}"
    broken = DataKey.objects.get(project_id=cast.project.pk)
    DataKey.objects.filter(pk=broken.pk).update(wrapped_key=b"x" * 60)

    code, counts, _ = run("rotate_root_key")

    assert (code, counts) == (3, {"rewrapped": wrapped_total() - 1, "left": 1})
    keys.forget_all()
    assert verify_vault().failed == [str(broken.pk)]


def test_without_the_former_root_key_the_command_refuses_naming_it(cast: Cast, settings: Settings) -> None:
    (former_id,) = keys.root_keys()
    settings.NEXUS_ROOT_KEY = NEW_ROOT

    code, problem, _ = run("rotate_root_key")

    assert (code, problem["code"]) == (1, "missing_root_key")
    assert former_id in problem["detail"]
    assert DataKey.objects.get(project_id=cast.project.pk).root_key_id == former_id


# ---- server keys


@pytest.fixture
def rotated(command: Actor) -> Callable[[str], ServerKey]:
    """Rotates as another process would: this one then forgets, as it does after some time."""

    def rotate(purpose: str) -> ServerKey:
        new = rotate_server_key(actor=command, purpose=purpose)
        keys.forget_all()
        return new

    return rotate


@pytest.mark.parametrize("purpose", Purpose.values)
def test_each_purpose_gets_a_new_key_and_keeps_the_former(purpose: str, cast: Cast) -> None:
    former = keys.server_key(Purpose(purpose))

    code, result, _ = run("rotate_server_key", purpose)
    keys.forget_all()

    new = keys.server_key(Purpose(purpose))
    assert (code, result) == (0, {"purpose": purpose, "id": str(new.id)})
    assert new.id != former.id
    assert keys.server_key_by_id(former.id).secret == former.secret != new.secret
    assert [key.id for key in keys.server_keys(Purpose(purpose))] == [new.id, former.id]
    event = AuditEvent.objects.get(action="server_key.rotated")
    assert (event.chain.scope, event.object_id, event.object_key) == ("installation", str(new.id), purpose)
    assert event.changed == {"id": [str(former.id), str(new.id)], "version": [1, 2]}
    assert verify(AuditChain.objects.all()).first_bad is None


def test_only_a_command_rotates_and_only_what_exists(cast: Cast, command: Actor) -> None:
    for name in ("alice", "carol", "sue", "mallory"):
        with pytest.raises(NotPermitted):
            rotate_server_key(actor=cast.actor(name), purpose="etag")
        with pytest.raises(NotPermitted):
            rotate_root_key(actor=cast.actor(name))
    with pytest.raises(InvalidInput):
        rotate_server_key(actor=command, purpose="other")

    assert set(ServerKey.objects.values_list("version", flat=True)) == {1}


def test_credentials_of_the_former_pepper_work_beside_those_of_the_new(
    cast: Cast, command: Actor, rotated: Callable[[str], ServerKey]
) -> None:
    ends = timezone.now() + timedelta(days=1)
    mona = cast.users["mona"]
    _, old_token = issue_access_token(
        actor=cast.actor("mona"), bearer=mona, name="old", scopes=["config:read"], expires_at=ends
    )

    rotated("api_key_pepper")
    _, new_key = issue_api_key(actor=command, service=cast.backend, slot="secondary")
    _, new_token = issue_access_token(
        actor=cast.actor("mona"), bearer=mona, name="new", scopes=["config:read"], expires_at=ends
    )
    rotated("api_key_pepper")

    for text in (cast.keys["backend"], new_key):
        assert find_in_database(text).service_id == cast.backend.pk
    for text in (old_token, new_token):
        assert good_token(text).user_id == mona.pk
    revoke_api_key(actor=command, service=cast.backend, slot="primary")
    with pytest.raises(InvalidCredential):
        find_in_database(cast.keys["backend"])


@pytest.mark.django_db(transaction=True, databases=["default", "reader"])
def test_delivery_follows_a_rotation_at_its_next_look(committed_cast: Cast, command: Actor) -> None:
    with delivering() as client:
        old_key = committed_cast.keys["backend"]
        before = client.get(key=old_key)
        rotate_server_key(actor=command, purpose="api_key_pepper")
        rotate_server_key(actor=command, purpose="etag")
        _, new_key = issue_api_key(actor=command, service=committed_cast.backend, slot="secondary")
        client.app.tailer.look()
        after, by_new = client.get(key=old_key), client.get(key=new_key)
        unchanged = client.get(key=old_key, headers=[("If-None-Match", before.headers["etag"])])

    assert (before.status, after.status, by_new.status) == (200, 200, 200)
    assert after.body == before.body == by_new.body
    assert after.headers["etag"] != before.headers["etag"]
    # An ETag of before the rotation names nothing any more: the body comes once again.
    assert unchanged.status == 200


def test_events_and_checkpoints_under_former_audit_keys_verify(
    cast: Cast, command: Actor, rotated: Callable[[str], ServerKey]
) -> None:
    sign_heads(AuditChain.objects.all())
    for purpose in ("audit_mac", "audit_signing", "audit_mac"):
        rotated(purpose)
        set_secret(actor=command, service=cast.backend, key=f"k.{purpose}", value=b"v")
        sign_heads(AuditChain.objects.all())

    found = verify(AuditChain.objects.all())

    assert (found.first_bad, found.truncation) == (None, "none")
    assert AuditEvent.objects.values("mac_key_id").distinct().count() == 3


def test_a_rotation_of_the_audit_key_that_rolls_back_leaves_nothing_behind(
    committed_cast: Cast, command: Actor
) -> None:
    former = keys.server_key(Purpose.AUDIT_MAC)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        rotate_server_key(actor=command, purpose="audit_mac")
        raise ZeroDivisionError

    with transaction.atomic():
        event = record(actor=command, action=Action.LOGOUT, target=Target("session"))

    assert event.mac_key_id == former.id
    assert verify(AuditChain.objects.all()).first_bad is None


def test_a_repeated_request_finds_its_answer_across_a_rotation(
    cast: Cast, rotated: Callable[[str], ServerKey]
) -> None:
    made = []

    def send(body: dict[str, int]) -> Answer:
        def make() -> Answer:
            made.append(body)
            return Answer({"number": len(made)})

        return idempotency.once(
            actor=cast.actor("alice"),
            method="POST",
            path="/x",
            key="one",
            body=body,
            ask_again=lambda: None,
            make=make,
        )

    first = send({"a": 1})
    rotated("idempotency")
    second = send({"a": 1})
    rotated("idempotency")
    third = send({"a": 1})
    with pytest.raises(IdempotencyKeyReused):
        send({"a": 2})

    assert [answer.document for answer in (first, second, third)] == [{"number": 1}] * 3
    assert [answer.is_replay for answer in (first, second, third)] == [False, True, True]
    assert (len(made), IdempotencyRecord.objects.count()) == (1, 1)


def test_what_the_former_mfa_key_sealed_opens(cast: Cast, rotated: Callable[[str], ServerKey]) -> None:
    user, adapter = cast.users["bob"], mfa.SealingAdapter()
    with mfa._sealing_for(user, "totp"):
        sealed = adapter.encrypt("seed")

        new = rotated("mfa")

        assert adapter.decrypt(sealed) == "seed"
        assert adapter.encrypt("seed").startswith(f"{new.pk}.")


def test_two_who_rotate_at_once_come_one_after_the_other(
    committed_cast: Cast, command: Actor, in_thread: InThread
) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(in_thread(lambda: rotate_server_key(actor=command, purpose="etag"))) for _ in range(4)
        ]
        versions = sorted(job.result().version for job in jobs)

    assert versions == [2, 3, 4, 5]
    assert ServerKey.objects.filter(purpose="etag", state=KeyState.CURRENT).count() == 1


# ---- nothing of a key stands anywhere


def forms(secret: bytes) -> list[bytes]:
    encoded = base64.b64encode(secret)
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        encoded.rstrip(b"=")[:-1],
        base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1],
        repr(secret).encode(),
    ]


@contextmanager
def remembered_secrets() -> Iterator[list[bytes]]:
    """Every key that is made or unwrapped inside."""
    found: list[bytes] = []
    made, opened = keys.crypto.new_key, keys.unwrap

    def making() -> bytes:
        found.append(made())
        return found[-1]

    def opening(row: Any) -> bytes:
        found.append(opened(row))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys.crypto, "new_key", making)
        patch.setattr(keys, "unwrap", opening)
        yield found


def test_no_key_stands_in_tables_files_logs_events_or_answers(
    committed_cast: Cast, command: Actor, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys.forget_all()
    settings.NEXUS_ROOT_KEY = f"{NEW_ROOT},{settings.NEXUS_ROOT_KEY}"
    said: list[str] = []

    with remembered_secrets() as secrets:
        set_secret(actor=command, service=committed_cast.backend, key="a", value=b"value")
        for arguments in (
            ("rotate_root_key",),
            ("rotate_data_keys",),
            *(("rotate_server_key", purpose) for purpose in Purpose.values),
            ("verify_vault",),
        ):
            code, result, err = run(*arguments)
            assert code == 0
            said += [json.dumps(result), err]
        broken = DataKey.objects.get(project_id=committed_cast.project.pk, state=KeyState.CURRENT)
        DataKey.objects.filter(pk=broken.pk).update(wrapped_key=b"x" * 60)
        keys.forget_all()
        said += [str(each) for each in run("verify_vault") + run("rotate_data_keys", "acme/shop")]

    secrets += [bytes(range(32))]
    assert len(set(secrets)) > 20
    places = [*cells(), *files(), *redis_entries(), ("the log", caplog.text.encode())]
    places += [(f"answer {number}", text.encode()) for number, text in enumerate(said)]
    searched = [form for secret in set(secrets) for form in forms(secret)]
    assert [name for name, data in places if any(form in data for form in searched)] == []
    # The search finds what is there.
    assert any(str(broken.pk).encode() in data for _, data in places)


def test_a_key_shows_itself_in_no_repr() -> None:
    secret = bytes(range(32))
    for shown in (repr(keys.Key(DataKey().pk, secret)), repr(keys.parse_root_keys(NEW_ROOT))):
        assert not any(form.decode("latin-1") in shown for form in forms(secret))
    assert NEW_ROOT_ID in repr(keys.parse_root_keys(NEW_ROOT))


# ---- the bar


class Screen(io.StringIO):
    def __init__(self, watched: bool) -> None:
        super().__init__()
        self._watched = watched

    def isatty(self) -> bool:
        return self._watched


@pytest.mark.parametrize("watched", [True, False])
def test_a_bar_is_drawn_for_a_person_and_for_nobody_else(watched: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr("apps.core.progress.EVERY_SECONDS", 0)
    screen = Screen(watched)
    progress = Progress(screen, 4, "keys")

    for _ in range(3):
        progress(2)
    progress.end()

    shown = screen.getvalue()
    assert ("50% 2 of 4 keys" in shown, "100% 6 of 4 keys" in shown) == (watched, watched)
    assert bool(shown) == watched
    assert not watched or shown.endswith("\r\x1b[K")


def test_the_bar_of_a_command_goes_to_standard_error(cast: Cast, command: Actor, monkeypatch: Any) -> None:
    monkeypatch.setattr("apps.core.progress.EVERY_SECONDS", 0)
    set_secret(actor=command, service=cast.backend, key="a", value=b"value")
    out, err = io.StringIO(), Screen(True)

    call_command("verify_vault", "--json", stdout=out, stderr=err)

    assert json.loads(out.getvalue())["opened"] == 1
    assert "1 of 1 values" in err.getvalue()


def test_the_root_key_file_holds_several_keys_one_a_line(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "root.key"
    file.write_text(f"{NEW_ROOT}\n{settings.NEXUS_ROOT_KEY}\n")
    settings.NEXUS_ROOT_KEY, settings.NEXUS_ROOT_KEY_FILE = "", str(file)

    found = list(keys.root_keys())

    assert (found[0], len(found)) == (NEW_ROOT_ID, 2)

"""Versions on the pages of the console: what is offered, what is asked first, and what is shown."""

import re
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.core.actor import Actor
from apps.flags.models import Flag
from apps.flags.operations import delete_flag, set_flag_state
from apps.services.models import EntryReference
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import delete_config, delete_secret, set_config, set_secret
from tests.conftest import Cast
from tests.console.test_routes import CANARY, entered


def page(row: Any, rest: str = "change/") -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{rest}"


def body(answer: Any) -> str:
    return str(answer.content.decode())


def offered(client: Client, row: Any) -> set[str]:
    """What the page of a row leads to beside itself."""
    base = page(row, "")
    return {
        found.replace("&amp;", "&")
        for found in re.findall(rf'href="{base}([^"]+)"', body(client.get(page(row))))
    }


@pytest.fixture
def secret(cast: Cast, command: Actor) -> Secret:
    for value in (CANARY, "two", "three"):
        set_secret(actor=command, service=cast.backend, key="a", value=value.encode())
    return Secret.objects.get()


@pytest.fixture
def config(cast: Cast, command: Actor) -> Config:
    for value in ("<one>\nsame", "two\nsame", "three"):
        set_config(actor=command, service=cast.backend, key="c", value=value)
    return Config.objects.get()


def test_older_versions_offer_what_the_person_may_do(cast: Cast, secret: Secret, config: Config) -> None:
    older = {f"versions/{number}/{verb}/" for number in (1, 2) for verb in ("restore", "destroy")} | {
        "compare/?left=1&right=3",
        "compare/?left=2&right=3",
    }

    assert offered(entered(cast, "mona"), secret) >= older | {"rename/", "reminders/"}
    assert offered(entered(cast, "mona"), config) >= older | {"rename/"}
    vic = offered(entered(cast, "vic"), config)
    assert vic >= {"compare/?left=1&right=3"}
    assert not any("versions" in each or "rename" in each for each in vic)
    assert "versions/3/" not in str(offered(entered(cast, "mona"), secret))


def test_restoring_a_version_is_explained_and_then_done(cast: Cast, secret: Secret, config: Config) -> None:
    client = entered(cast, "mona")

    asked = client.get(page(secret, "versions/1/restore/"))
    stale = client.post(page(secret, "versions/1/restore/"), {"row_version": "1"})
    answers = [
        client.post(page(row, "versions/1/restore/"), {"row_version": row.row_version})
        for row in (secret, config)
    ]

    assert "becomes the active one" in body(asked)
    assert f'name="row_version" value="{secret.row_version}"' in body(asked)
    assert stale.status_code == 409
    assert [answer["Location"] for answer in answers] == [page(secret), page(config)]
    assert ConfigVersion.objects.get(version=4).text == "<one>\nsame"
    assert SecretVersion.objects.get(version=4).size_bytes == len(CANARY)
    assert CANARY not in body(client.get(page(secret)))


def test_destroying_a_version_asks_first_and_leaves_a_tombstone(cast: Cast, secret: Secret) -> None:
    client = entered(cast, "mona")
    path = page(secret, "versions/1/destroy/")

    asked = client.get(path)
    before = SecretVersion.objects.filter(destroyed_at=None).count()
    done = client.post(path, {"row_version": secret.row_version})

    assert "Nobody can bring it back" in body(asked)
    assert before == 3
    assert done["Location"] == page(secret)
    assert bytes(SecretVersion.objects.get(version=1).sealed) == b""
    assert "destroyed" in body(client.get(page(secret)))
    assert not any("versions/1/" in each for each in offered(client, secret))
    for rest in ("versions/1/restore/", "versions/3/destroy/", "versions/9/restore/", "versions/2/x/"):
        assert client.get(page(secret, rest)).status_code == 404, rest


def test_a_refused_restore_says_why(cast: Cast, command: Actor) -> None:
    for value in ("{{config:host}}", "plain"):
        set_config(actor=command, service=cast.backend, key="host", value="x")
        set_config(actor=command, service=cast.backend, key="url", value=value)
    delete_config(actor=command, service=cast.backend, key="host")
    config = Config.objects.get(key="url")

    refused = entered(cast, "mona").post(page(config, "versions/1/restore/"))

    assert refused.status_code == 409
    assert "There is no host here" in body(refused)


def test_configs_are_compared_as_text_that_is_escaped(cast: Cast, config: Config) -> None:
    client = entered(cast, "vic")

    empty = client.get(page(config, "compare/"))
    found = client.get(page(config, "compare/?left=1&right=2"))
    same = client.get(page(config, "compare/?left=2&right=2"))

    assert 'name="left"' in body(empty)
    assert "-&lt;one&gt;\n+two\n same" in body(found)
    assert "<one>" not in body(found)
    assert "The two are the same." in body(same)
    for query in ("?left=x&right=1", "?left=1&right=9", "?left=1&right=" + "9" * 20):
        assert client.get(page(config, f"compare/{query}")).status_code == 404, query


@pytest.mark.django_db(transaction=True)
def test_secrets_are_compared_by_post_with_presence(committed_cast: Cast, command: Actor) -> None:
    cast = committed_cast
    for value in (CANARY, "two"):
        set_secret(actor=command, service=cast.backend, key="a", value=value.encode())
    secret = Secret.objects.get()
    client = entered(cast, "mona")

    form = client.get(page(secret, "compare/?left=1&right=2"))
    told = AuditEvent.objects.filter(action="secret.compared")
    before = told.count()
    found = client.post(page(secret, "compare/"), {"left": "1", "right": "2"})
    away = entered(cast, "mona", present=False).post(page(secret, "compare/"), {"left": "1", "right": "2"})
    missing = client.post(page(secret, "compare/"), {"left": "1", "right": "9"})
    bob = entered(cast, "bob").post(page(secret, "compare/"), {"left": "1", "right": "2"})

    assert (form.status_code, before) == (200, 0)
    assert f"Versions 1 and 2 differ: {len(CANARY)} and 3 bytes." in body(found)
    assert "no-store" in found["Cache-Control"]
    assert CANARY not in body(found)
    assert away["Location"].startswith("/admin/presence/")
    assert (missing.status_code, bob.status_code) == (404, 404)
    assert told.count() == 1


def test_a_rename_is_a_form_that_names_what_stands_in_the_way(
    cast: Cast, command: Actor, config: Config
) -> None:
    set_config(actor=command, service=cast.backend, key="url", value="{{config:c}}")
    client = entered(cast, "mona")
    path = page(config, "rename/")

    opened = client.get(path)
    named = client.post(path, {"new_key": "d", "row_version": "3"})
    taken = client.post(path, {"new_key": "url", "force": "on", "row_version": "3"})
    wrong = client.post(path, {"new_key": "no key", "row_version": "3"})
    stale = client.post(path, {"new_key": "d", "force": "on", "row_version": "2"})
    done = client.post(path, {"new_key": "d", "force": "on", "row_version": "3"})

    assert 'value="c"' in body(opened)
    assert [each.status_code for each in (named, taken, wrong, stale)] == [422] * 4
    assert "production/api config url" in body(named)
    assert done["Location"] == page(config)
    assert Config.objects.get(pk=config.pk).key == "d"
    assert EntryReference.objects.get().target_key == "c"


def test_reminders_are_set_shown_and_cleared(cast: Cast, secret: Secret) -> None:
    client = entered(cast, "mona")
    path = page(secret, "reminders/")

    client.post(path, {"expires_at": "2030-01-02T03:04", "row_version": "3"})
    shown, form = body(client.get(page(secret))), body(client.get(path))
    client.post(path, {"expires_at": "", "row_version": "4"})

    assert "02 Jan 2030, 03:04" in shown
    assert 'value="2030-01-02T03:04:00"' in form
    secret.refresh_from_db()
    assert (secret.expires_at, secret.active_version) == (None, 3)


@pytest.mark.parametrize("kind", ["secrets", "configs", "flags"])
def test_what_was_deleted_stands_on_the_tab_until_it_is_brought_back(
    cast: Cast, command: Actor, kind: str
) -> None:
    service = cast.backend
    set_secret(actor=command, service=service, key="gone.one", value=b"x")
    set_config(actor=command, service=service, key="gone.one", value="x")
    set_flag_state(actor=command, service=service, key="gone.one", enabled=True)
    for delete in (delete_secret, delete_config, delete_flag):
        delete(actor=command, service=service, key="gone.one")
    row = {"secrets": Secret, "configs": Config, "flags": Flag}[kind].objects.get()  # type: ignore[attr-defined]
    tab = f"/admin/services/service/{service.pk}/change/?tab={kind}"
    client = entered(cast, "mona")

    shown = body(client.get(tab))
    viewed = body(entered(cast, "vic").get(tab.replace("secrets", "configs")))
    asked = client.get(page(row, "restore/"))
    done = client.post(page(row, "restore/"), {"row_version": row.row_version})

    assert page(row, "restore/") in shown
    assert "gone.one" not in viewed
    assert "comes back as it was" in body(asked)
    assert done["Location"] == page(row)
    assert page(row, "restore/") not in body(client.get(tab))
    assert client.get(page(row)).status_code == 200
    assert client.get(page(row, "restore/")).status_code == 404

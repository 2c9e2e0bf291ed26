"""References through the real doors: what a write refuses, what a snapshot serves, who may name what."""

import tracemalloc
from dataclasses import replace
from typing import Any

import orjson
import pytest

from apps.core.actor import Actor, ActorType
from apps.core.errors import HasDependants, InvalidInput, NotPermitted, SnapshotTooLarge
from apps.flags.operations import delete_flag, set_flag_state
from apps.services.models import EntryReference, Kind, Service
from apps.services.operations import create_service, link_umbrella
from apps.vault.bulk import write_configs
from apps.vault.drafts import ConfigDraft
from apps.vault.history import CONFIGS, SECRETS, rename_entry, restore_entry
from apps.vault.models import Config
from apps.vault.operations import delete_config, delete_secret, set_config, set_secret
from nexus.delivery import app as app_module
from nexus.delivery.render import render
from tests.conftest import Cast
from tests.delivery.client import delivering
from tests.projects.test_rights import extra

SERVED = pytest.mark.django_db(transaction=True, databases=["default", "reader"])


def served(service: Service) -> dict[str, Any]:
    snapshot = render(service.pk)
    assert snapshot is not None
    return dict(orjson.loads(snapshot.answer.body))


def values(service: Service) -> dict[str, Any]:
    return {key: config["value"] for key, config in served(service)["configs"].items()}


@pytest.fixture
def write(command: Actor) -> Any:
    def write(service: Service, **configs: Any) -> Any:
        for key, value in configs.items():
            written = set_config(actor=command, service=service, key=key, value=value)
        return written

    return write


def refused(run: Any) -> str:
    with pytest.raises(InvalidInput) as refusal:
        run()
    assert list(refusal.value.errors) == ["value"]
    return refusal.value.errors["value"][0]


@SERVED
def test_a_snapshot_serves_what_templates_mean_and_people_see_the_text(
    committed_cast: Cast, command: Actor, write: Any
) -> None:
    backend = committed_cast.backend
    set_secret(actor=command, service=backend, key="db.password", value=b"p{{config:host}}")

    write(backend, host="db.internal", url="pg://app:{{secret:db.password}}@{{config:host}}/x")

    assert values(backend)["url"] == "pg://app:p{{config:host}}@db.internal/x"
    assert served(backend)["errors"] == []


@SERVED
def test_a_child_overrides_what_its_umbrellas_template_names(
    committed_cast: Cast, command: Actor, write: Any
) -> None:
    umbrella, child = committed_cast.umbrella, committed_cast.child
    write(umbrella, host="shared", url="http://{{config:host}}")
    assert values(child)["url"] == "http://shared"

    write(child, host="own")
    assert values(child)["url"] == "http://own"

    set_config(actor=command, service=umbrella, key="host", value="shared", is_final=True)
    assert values(child)["url"] == "http://shared"


def test_what_would_not_be_served_is_refused_with_its_path(cast: Cast, write: Any) -> None:
    backend = cast.backend
    write(backend, a="x", b="{{config:a}}")

    assert "a → nothing" in refused(lambda: write(backend, a="{{config:nothing}}"))
    assert "a → secret:none" in refused(lambda: write(backend, a="{{secret:none}}"))
    assert "a → b → a" in refused(lambda: write(backend, a="{{config:b}}"))
    assert "At character 3" in refused(lambda: write(backend, a="x {{ config:b }}"))
    for number in range(7):
        write(backend, **{f"c{number}": f"{{{{config:{'b' if number == 0 else f'c{number - 1}'}}}}}"})
    assert "longer than 8" in refused(lambda: write(backend, c7="{{config:c6}}"))
    # The chain grows at its other end as well.
    write(backend, end="x")
    assert "longer than 8" in refused(lambda: write(backend, a="{{config:end}}"))
    assert values_of_texts(backend)["a"] == "x"


def values_of_texts(service: Service) -> dict[str, str]:
    found = {}
    for config in Config.objects.filter(service=service):
        found[config.key] = config.versions.get(version=config.active_version).text
    return found


def test_what_grows_too_large_is_refused_whichever_end_grows(cast: Cast, command: Actor, write: Any) -> None:
    backend = cast.backend
    set_secret(actor=command, service=backend, key="s", value=b"x" * 1000)
    write(backend, a="{{secret:s}}" * 200)

    with pytest.raises(InvalidInput) as refusal:
        set_secret(actor=command, service=backend, key="s", value=b"x" * 2000)

    assert "a → secret:s" in refusal.value.errors["value"][0]


def test_a_frontends_config_names_no_secret(cast: Cast, write: Any) -> None:
    frontend = cast.frontend
    write(frontend, a="x", b="{{config:a}}")

    assert "names no secret" in refused(lambda: write(frontend, c="{{secret:s}}"))
    assert "a → secret:s" in refused(lambda: write(frontend, a="{{secret:s}}"))


def test_who_names_a_secret_may_reveal_it_where_it_lives(cast: Cast, command: Actor) -> None:
    umbrella = create_service(
        actor=command,
        project=cast.project,
        environment="develop",
        slug="common",
        kind=Kind.BACKEND,
        is_umbrella=True,
    )
    develop = create_service(
        actor=command,
        project=cast.project,
        environment="develop",
        slug="api",
        kind=Kind.BACKEND,
        umbrella=umbrella,
    )
    set_secret(actor=command, service=umbrella, key="s", value=b"x")
    mona = cast.actor("mona")
    writer = replace(mona, type=ActorType.ACCESS_TOKEN, permissions=frozenset({"config:write"}))
    revealer = replace(writer, permissions=frozenset({"config:write", "secret:reveal"}))

    set_config(actor=writer, service=develop, key="plain", value="x")
    with pytest.raises(NotPermitted):
        set_config(actor=writer, service=develop, key="a", value="{{secret:s}}")
    set_config(actor=revealer, service=develop, key="a", value="{{secret:s}}")
    with pytest.raises(NotPermitted):
        set_config(actor=writer, service=develop, key="b", value="again {{config:a}}")


@SERVED
def test_a_referenced_key_is_not_deleted_or_renamed_unless_by_force(
    committed_cast: Cast, command: Actor, write: Any
) -> None:
    backend = committed_cast.backend
    set_secret(actor=command, service=backend, key="s", value=b"x")
    write(backend, host="h", url="{{config:host}}{{secret:s}}")

    for run in (
        lambda: delete_config(actor=command, service=backend, key="host"),
        lambda: delete_secret(actor=command, service=backend, key="s"),
        lambda: rename_entry(actor=command, of=CONFIGS, service=backend, key="host", new_key="h2"),
        lambda: rename_entry(actor=command, of=SECRETS, service=backend, key="s", new_key="s2"),
    ):
        with pytest.raises(HasDependants) as refusal:
            run()
        assert refusal.value.members["dependants"] == ["production/api config url"]

    delete_config(actor=command, service=backend, key="host", force=True)
    broken = served(backend)
    assert "url" not in broken["configs"]
    assert broken["errors"] == [
        {"kind": "config", "key": "url", "code": "missing_reference", "path": ["url", "host"]}
    ]
    restore_entry(actor=command, of=CONFIGS, service=backend, key="host")
    assert values(backend)["url"] == "hx"


def test_who_refers_is_named_to_those_alone_who_may_read_it(cast: Cast, command: Actor, write: Any) -> None:
    umbrella, child = cast.umbrella, cast.child
    set_secret(actor=command, service=umbrella, key="s", value=b"x")
    set_flag_state(actor=command, service=umbrella, key="f", enabled=True)
    write(umbrella, c="x")
    write(child, hidden="{{secret:s}}{{flag:f}}{{config:c}}", hidden2="{{secret:s}}")
    # Finn has no role in the project, only these on the umbrella.
    for permission in ("secret:write", "config:write", "flag:write"):
        extra(cast.users["finn"], permission, umbrella)
    acts = (
        (lambda actor: delete_secret(actor=actor, service=umbrella, key="s"), 2),
        (lambda actor: delete_config(actor=actor, service=umbrella, key="c"), 1),
        (lambda actor: delete_flag(actor=actor, service=umbrella, key="f"), 1),
        (lambda actor: rename_entry(actor=actor, of=SECRETS, service=umbrella, key="s", new_key="t"), 2),
    )

    for act, count in acts:
        with pytest.raises(HasDependants) as blind:
            act(cast.actor("finn"))
        with pytest.raises(HasDependants) as seeing:
            act(cast.actor("mona"))
        assert blind.value.members["dependants"] == []
        assert blind.value.detail.endswith(f": {count} that you do not see.")
        assert "checkout" not in blind.value.detail
        assert "hidden" not in blind.value.detail
        assert "production/checkout config hidden" in seeing.value.members["dependants"]
    write(umbrella, own="{{secret:s}}")
    extra(cast.users["finn"], "config:read", umbrella)
    with pytest.raises(HasDependants) as partly:
        delete_secret(actor=cast.actor("finn"), service=umbrella, key="s")
    assert partly.value.members["dependants"] == ["production/common config own"]
    assert partly.value.detail.endswith("production/common config own and 2 more that you do not see.")


def test_children_that_one_may_not_read_are_counted_in_warnings(
    cast: Cast, command: Actor, write: Any
) -> None:
    umbrella = cast.umbrella
    link_umbrella(actor=command, service=cast.backend, umbrella=umbrella)
    write(umbrella, base="b", top="t")
    for service in (cast.child, cast.backend):
        write(service, base="{{config:top}}")
    for service, permission in ((umbrella, "config:write"), (cast.backend, "config:read")):
        extra(cast.users["finn"], permission, service)

    written = set_config(actor=cast.actor("finn"), service=umbrella, key="top", value="{{config:base}}")

    told, counted = written.warnings[:-1], written.warnings[-1]
    assert told
    assert all(warning.startswith("production/api: ") for warning in told)
    assert counted == "In 1 service that you do not see, something could not be served."


def test_references_follow_the_text_of_the_active_version(cast: Cast, command: Actor, write: Any) -> None:
    backend = cast.backend
    write(backend, a="x", b="{{config:a}}")
    assert EntryReference.objects.get().target_key == "a"

    write(backend, b="plain")
    assert not EntryReference.objects.exists()
    write(backend, b="{{config:a}}")
    delete_config(actor=command, service=backend, key="b")
    assert not EntryReference.objects.exists()
    delete_config(actor=command, service=backend, key="a")


@SERVED
def test_an_umbrellas_write_that_a_child_cannot_serve_is_a_warning(
    committed_cast: Cast, command: Actor, write: Any
) -> None:
    umbrella, child = committed_cast.umbrella, committed_cast.child
    write(umbrella, base="b")
    set_config(actor=command, service=umbrella, key="top", value="t")
    write(child, base="{{config:top}}")

    written = set_config(actor=command, service=umbrella, key="top", value="{{config:base}}")

    assert written.warnings
    assert all(
        warning.startswith("production/checkout: The references go round") for warning in written.warnings
    )
    assert {error["code"] for error in served(child)["errors"]} == {"circular_reference"}


def test_many_configs_written_at_once_may_refer_to_each_other_in_any_order(
    cast: Cast, command: Actor
) -> None:
    writes = [ConfigDraft(key="a", value="{{config:b}}"), ConfigDraft(key="b", value="x")]

    results = write_configs(actor=command, service=cast.backend, writes=writes, deletions=[])

    assert [result.version for result in results] == [1, 1]
    with pytest.raises(InvalidInput) as refusal:
        write_configs(
            actor=command,
            service=cast.backend,
            writes=[ConfigDraft(key="c", value="y"), ConfigDraft(key="d", value="{{config:none}}")],
            deletions=[],
        )
    assert list(refusal.value.errors) == ["write.1.value"]
    assert "c" not in values_of_texts(cast.backend)


@SERVED
def test_a_linked_childs_template_finds_its_umbrellas_entries(
    committed_cast: Cast, command: Actor, write: Any
) -> None:
    backend, umbrella = committed_cast.backend, committed_cast.umbrella
    write(umbrella, host="shared")
    link_umbrella(actor=command, service=backend, umbrella=umbrella)
    write(backend, url="http://{{config:host}}")

    link_umbrella(actor=command, service=backend, umbrella=None)

    assert served(backend)["errors"] == [
        {"kind": "config", "key": "url", "code": "missing_reference", "path": ["url", "host"]}
    ]


def test_a_snapshot_does_not_outgrow_its_limit(cast: Cast, command: Actor, write: Any, settings: Any) -> None:
    settings.NEXUS_SNAPSHOT_MAX_BYTES = 20_000
    backend = cast.backend
    set_secret(actor=command, service=backend, key="s", value=b"x" * 6_000)
    write(backend, a="y" * 6_000)

    with pytest.raises(SnapshotTooLarge):
        set_secret(actor=command, service=backend, key="t", value=b"x" * 9_000)
    with pytest.raises(SnapshotTooLarge):
        write(backend, b="{{secret:s}}{{secret:s}}")
    # In JSON a control character takes six bytes.
    with pytest.raises(SnapshotTooLarge):
        set_secret(actor=command, service=backend, key="t", value=b"\x01" * 1_400)

    set_secret(actor=command, service=backend, key="t", value=b"x" * 5_000)


def test_a_fan_out_is_refused_by_lengths_alone_and_built_once_a_revision(
    committed_cast: Cast, command: Actor, settings: Any
) -> None:
    settings.NEXUS_SNAPSHOT_MAX_BYTES = 1_000_000
    umbrella, child = committed_cast.umbrella, committed_cast.child
    set_config(actor=command, service=umbrella, key="x", value="")
    writes = [ConfigDraft(key=f"c{number}", value="{{config:x}}" * 3) for number in range(190)]
    write_configs(actor=command, service=umbrella, writes=writes, deletions=[])
    tracemalloc.start()

    with pytest.raises(SnapshotTooLarge):
        set_config(actor=command, service=child, key="x", value="x" * 60_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # Joined, it would hold 34 MB.
    assert peak < 10_000_000


@SERVED
def test_what_outgrew_its_limit_is_not_built_again_before_something_changes(
    committed_cast: Cast, command: Actor, write: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = committed_cast.backend
    write(backend, a="y" * 5_000)
    settings.NEXUS_SNAPSHOT_MAX_BYTES = 4_000
    built = []
    real = app_module.render
    monkeypatch.setattr(app_module, "render", lambda service_id: built.append(1) or real(service_id))

    with delivering() as client:
        answers = [client.get(key=committed_cast.keys["backend"]) for _ in range(3)]
        settings.NEXUS_SNAPSHOT_MAX_BYTES = 1_000_000
        write(backend, a="y")
        client.app.tailer.look()
        last = client.get(key=committed_cast.keys["backend"])

    assert [answer.status for answer in answers] == [503, 503, 503]
    assert len(built) == 2
    assert last.status == 200

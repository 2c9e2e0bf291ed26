"""Typed configs, inheritance, final, deletion."""

from typing import Any

import pytest

from apps.core.actor import Actor
from apps.core.errors import InvalidInput, NotPermitted
from apps.services.models import Service
from apps.services.operations import create_service
from apps.vault.operations import delete_config, set_config
from apps.vault.resolution import stored_configs
from tests.conftest import Cast


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", "x"),
        ("number", 1),
        ("number", 1.5),
        ("boolean", True),
        ("json", {"a": [None]}),
        ("json", "x"),
    ],
)
def test_a_value_of_its_type_is_taken(cast: Cast, type_: str, value: Any) -> None:
    written = set_config(actor=cast.actor("mona"), service=cast.frontend, key="k", value=value, type=type_)

    assert (written.version, written.created) == (1, True)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", 1),
        ("number", "1"),
        ("number", True),
        ("boolean", 0),
        ("number", float("nan")),
        ("json", {"a": float("inf")}),
        ("string", "x" * 65_537),
        ("string", "\ud800"),
        ("colour", "red"),
        ("string", "{{secret:stripe.key}}"),
        ("json", {"deep": ["{{config:x}}"]}),
        ("string", "before {{flag:x}} after"),
    ],
)
def test_a_value_of_another_type_or_with_a_template_is_refused(cast: Cast, type_: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        set_config(actor=cast.actor("mona"), service=cast.frontend, key="k", value=value, type=type_)

    assert not stored_configs(cast.frontend)


def test_escaped_braces_and_64_kib_are_taken(cast: Cast) -> None:
    set_config(actor=cast.actor("mona"), service=cast.backend, key="a", value="\\{{secret:x}}")

    set_config(actor=cast.actor("mona"), service=cast.backend, key="b", value="x" * 65_536)

    assert set(stored_configs(cast.backend)) == {"a", "b"}


@pytest.mark.parametrize("key", ["", "1a", "a.", "a b", "ä", "a" * 256, "a\n", ".a", "a/b"])
def test_a_key_of_another_form_is_refused(cast: Cast, key: str) -> None:
    with pytest.raises(InvalidInput):
        set_config(actor=cast.actor("mona"), service=cast.backend, key=key, value="x")


def test_own_entries_win_unless_the_umbrella_s_is_final(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.umbrella, key="only.above", value="above")
    set_config(actor=command, service=cast.umbrella, key="both", value="above")
    set_config(actor=command, service=cast.umbrella, key="final", value="above", is_final=True)
    for key in ("both", "final"):
        set_config(actor=command, service=cast.child, key=key, value="own")

    found = {key: source for key, (_, source) in stored_configs(cast.child).items()}

    assert found == {"both": "service", "final": "umbrella", "only.above": "umbrella"}
    with pytest.raises(InvalidInput):
        set_config(actor=command, service=cast.child, key="x", value="y", is_final=True)


def test_a_write_raises_the_revision_of_all_who_read_it(cast: Cast, command: Actor) -> None:
    before = dict(Service.objects.values_list("slug", "revision"))

    set_config(actor=command, service=cast.umbrella, key="a", value="b")

    raised = {
        slug for slug, revision in Service.objects.values_list("slug", "revision") if revision > before[slug]
    }
    assert raised == {"common", "checkout"}


def test_a_deleted_key_comes_back_and_its_numbers_go_on(cast: Cast, command: Actor) -> None:
    set_config(actor=command, service=cast.backend, key="a", value="1")
    delete_config(actor=command, service=cast.backend, key="a")
    assert not stored_configs(cast.backend)

    written = set_config(actor=command, service=cast.backend, key="a", value="2")

    assert (written.version, written.created) == (2, True)


def test_a_developer_writes_in_develop_only(cast: Cast, command: Actor) -> None:
    develop = create_service(
        actor=command, project=cast.project, environment="develop", slug="api", kind="backend"
    )

    set_config(actor=cast.actor("bob"), service=develop, key="a", value="1")
    with pytest.raises(NotPermitted):
        set_config(actor=cast.actor("bob"), service=cast.backend, key="a", value="1")

    assert not stored_configs(cast.backend)

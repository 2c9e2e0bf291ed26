"""Every page of the console: a bounded number of queries that no row changes, and a bounded size."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEvent
from apps.audit.operations import forget_coalesced
from apps.core import keys
from apps.core.actor import Actor
from apps.core.admin import list_url, page_url
from apps.core.models import Purpose
from apps.flags.models import Flag
from apps.flags.operations import set_flag_state
from apps.projects.models import Project, ProjectMember
from apps.services.models import ApiKey, Service
from apps.services.tabs import tab_url
from apps.tenancy.models import Tenant, TenantMember
from apps.vault.models import Config, ConfigVersion, Secret, SecretVersion
from apps.vault.operations import set_config, set_secret
from tests.conftest import Cast
from tests.console.session import signed_in

MAX_QUERIES = 25
MAX_BYTES = 250_000
TABS = ("secrets", "configs", "flags", "keys", "activity", "settings")


def pages(cast: Cast) -> dict[str, str]:
    """A page of each kind that the tenant's owner opens, by a name."""
    found = {f"list of {model._meta.model_name}": list_url(model) for model in admin.site._registry}
    found["dashboard"] = "/admin/"
    found |= {f"tab {tab}": tab_url(cast.child, tab) for tab in TABS}
    found |= {f"umbrella's tab {tab}": tab_url(cast.umbrella, tab) for tab in TABS if tab != "keys"}
    for model in (Tenant, TenantMember, Project, ProjectMember, ApiKey, Secret, Config, Flag):
        row = model.objects.order_by("pk").first()  # type: ignore[attr-defined]
        assert row is not None, model
        found[f"page of {model._meta.model_name}"] = page_url(row)
    event = AuditEvent.objects.filter(project_id=cast.project.pk).earliest("time")
    found["page of auditevent"] = page_url(event)
    found["project's settings"] = page_url(cast.project) + "?section=settings"
    found["project's tier"] = page_url(cast.project) + "?section=tier"
    found["tenant's settings"] = page_url(cast.tenant) + "?section=settings"
    for model in (Secret, Config, Flag, ApiKey):
        name = model._meta.model_name
        found[f"new {name}"] = f"/admin/{model._meta.app_label}/{name}/add/?service={cast.child.pk}"
    found["new service"] = f"/admin/services/service/add/?project={cast.project.pk}"
    found["new member"] = f"/admin/projects/projectmember/add/?project={cast.project.pk}"
    found["new project"] = f"/admin/projects/project/add/?tenant={cast.tenant.pk}"
    found["deletion"] = page_url(cast.child).replace("/change/", "/act/delete/")
    return found


def opened(client: Client, url: str) -> tuple[HttpResponse, int]:
    """The answer, and how many queries it took. What is told once a minute is told now."""
    forget_coalesced()
    # A process asks once a minute which key is the current one; not in the middle of a count.
    keys.server_key(Purpose.AUDIT_MAC)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer: Any = client.get(url)
    return answer, len(queries)


@pytest.fixture
def entries(cast: Cast, command: Actor) -> Callable[[int], None]:
    """Fill the child and its umbrella up to a number of entries, members and services each."""
    set_secret(actor=command, service=cast.child, key="first.secret", value=b"canary-in-a-page")
    set_config(actor=command, service=cast.child, key="first.config", value="x")
    set_flag_state(actor=command, service=cast.child, key="first.flag", enabled=True)
    sealed = SecretVersion.objects.get(secret__key="first.secret")

    def fill(number: int) -> None:
        for service in (cast.child, cast.umbrella):
            have = Secret.objects.filter(service=service).count()
            names = [f"key.number.{index:05}" for index in range(have, number)]
            secrets = Secret.objects.bulk_create(
                Secret(service=service, key=key, active_version=1) for key in names
            )
            SecretVersion.objects.bulk_create(
                SecretVersion(
                    secret=secret,
                    version=1,
                    type="text",
                    sealed=sealed.sealed,
                    data_key_id=sealed.data_key_id,
                    size_bytes=16,
                    description="What this is for, in a sentence of usual length",
                )
                for secret in secrets
            )
            configs = Config.objects.bulk_create(
                Config(service=service, key=key, active_version=1) for key in names
            )
            ConfigVersion.objects.bulk_create(
                ConfigVersion(config=config, version=1, type="string", value_json='"x"', size_bytes=1)
                for config in configs
            )
            Flag.objects.bulk_create(
                Flag(service=service, key=key, type="boolean", definition="{}") for key in names
            )
        Service.objects.bulk_create(
            Service(
                project=cast.project,
                environment="production",
                kind="backend",
                slug=f"service-{index}",
                name=f"Service {index}",
            )
            for index in range(Service.objects.filter(project=cast.project).count(), number // 4)
        )

    return fill


def test_pages_are_bounded_and_cost_the_same_with_10_and_1000_rows(
    cast: Cast, entries: Callable[[int], None]
) -> None:
    client = signed_in(cast, "carol")
    entries(10)
    urls = pages(cast)
    for url in urls.values():
        client.get(url)  # What a process reads once is read.
    few = {name: opened(client, url)[1] for name, url in urls.items()}

    entries(1000)
    answers = {name: opened(client, url) for name, url in urls.items()}

    assert {name: answer.status_code for name, (answer, _) in answers.items()} == dict.fromkeys(urls, 200)
    assert {name: queries for name, (_, queries) in answers.items()} == few
    assert {name: queries for name, queries in few.items() if queries > MAX_QUERIES} == {}
    sizes = {name: len(answer.content) for name, (answer, _) in answers.items()}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}
    assert not any(b"canary-in-a-page" in answer.content for answer, _ in answers.values())


def test_a_long_tab_is_read_in_pages_and_searched(cast: Cast, entries: Callable[[int], None]) -> None:
    entries(120)
    client = signed_in(cast, "carol")

    first = client.get(tab_url(cast.child, "secrets")).content.decode()
    last = client.get(tab_url(cast.child, "secrets", p="3")).content.decode()
    found = client.get(tab_url(cast.child, "secrets", q="00117")).content.decode()

    assert "key.number.00000" in first
    assert "key.number.00119" not in first
    assert "key.number.00119" in last
    assert "key.number.00117" in found
    assert "key.number.00000" not in found


def test_a_tab_shows_what_counts_and_where_it_comes_from(cast: Cast, command: Actor) -> None:
    for service, key in ((cast.umbrella, "shared"), (cast.umbrella, "replaced"), (cast.child, "replaced")):
        set_config(actor=command, service=service, key=key, value=f"of {service.slug}")
    set_config(actor=command, service=cast.umbrella, key="fixed", value="of common", is_final=True)
    client = signed_in(cast, "mona")

    page = client.get(tab_url(cast.child, "configs")).content.decode()

    rows = {row.split("</td>")[0] for row in page.split("<tr>")[2:]}
    inherited = {row for row in rows if "INHERITED" in row}
    assert len([row for row in inherited if "shared" in row]) == 1
    assert len([row for row in inherited if "fixed" in row and "final" in row]) == 1
    assert not any("replaced" in row for row in inherited)
    assert "Override here: shared" in page
    assert "Override here: fixed" not in page
    assert "of checkout" in page

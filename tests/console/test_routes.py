"""Every address of the console, as somebody whom its contents are none of the business of.

The addresses come from the URLconf, so that one which is added later is tried without a thought. The
helpers above the tests serve the other suites of this folder that go through the console's own doors.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core import keys
from apps.core.access import access_paths
from apps.core.actor import Actor
from apps.core.ids import uuid7
from apps.flags.models import Flag
from apps.flags.operations import set_flag, set_flag_state
from apps.projects.models import Project
from apps.services.models import ApiKey, Kind, Service, ServiceGrant, Slot
from apps.services.operations import create_service, issue_api_key
from apps.tenancy.models import Tenant, User
from apps.tenancy.operations import change_tenant
from apps.vault.models import Config, Secret, SecretType
from apps.vault.operations import set_config, set_secret
from nexus.console.presence import remember_presence
from tests.conftest import ORIGIN, Cast

# Pages are the same on either database, and here are hundreds of them.
pytestmark = pytest.mark.postgresql_only

BACKEND = "apps.projects.backends.MembershipBackend"
INSIDERS = ("alice", "mona", "bob", "tess", "vic", "carol", "finn")
OUTSIDERS = ("mallory", "sue")
CANARY = "canary-7f3e-never-on-a-page"

# Who is registered at the console. A model that joins them is looked at here first: its admin decides
# what of it can be seen, sorted, filtered and searched.
REGISTERED = {
    "audit.auditevent",
    "tenancy.tenant",
    "tenancy.tenantmember",
    "tenancy.user",
    "projects.project",
    "projects.projectmember",
    "services.service",
    "services.apikey",
    "flags.flag",
    "vault.secret",
    "vault.config",
}


def entered(cast: Cast, name: str, *, present: bool = True, **options: Any) -> Client:
    """A browser in which this person of the cast is signed in; `present`, just now."""
    client = Client(**options)
    client.force_login(User.objects.get(pk=cast.users[name].pk), backend=BACKEND)
    if present:
        session = client.session
        remember_presence(SimpleNamespace(session=session))  # type: ignore[arg-type]
        session.save()
    return client


@dataclass
class World:
    """The cast with entries of every kind, each named so that no page says it by accident."""

    cast: Cast
    develop: Service
    secrets: dict[str, Secret] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    flags: dict[str, Flag] = field(default_factory=dict)

    def service(self, where: str) -> Service:
        return {"production": self.cast.backend, "develop": self.develop}[where]


def make_world(cast: Cast, command: Actor) -> World:
    change_tenant(actor=cast.actor("carol"), tenant=cast.tenant, name="Zyx Industries")
    develop = create_service(
        actor=command,
        project=cast.project,
        environment="develop",
        slug="zyx-lab",
        name="Zyx laboratory",
        kind=Kind.BACKEND,
    )
    world = World(cast, develop)
    issue_api_key(actor=command, service=develop)
    for where, service in (("production", cast.backend), ("develop", develop), ("umbrella", cast.umbrella)):
        set_secret(
            actor=command,
            service=service,
            key=f"zyx.{where}.token",
            value=CANARY.encode(),
            description=f"zyx describes {where}",
        )
        set_config(actor=command, service=service, key=f"zyx.{where}.host", value=f"zyx-{where}.internal")
        set_flag_state(actor=command, service=service, key=f"zyx.{where}.flag", enabled=True)
        world.secrets[where] = Secret.objects.get(service=service)
        world.configs[where] = Config.objects.get(service=service)
        world.flags[where] = Flag.objects.get(service=service)
    return world


def rows_of(tenant: Tenant, model: type[models.Model]) -> list[Any]:
    """All rows of a registered model that are the tenant's, its people included."""
    manager: Any = model._default_manager
    if model is User:
        return list(manager.filter(tenant_memberships__tenant=tenant).distinct())
    return list(manager.filter(**{access_paths(model).tenant: tenant.pk}))


def marks_of(cast: Cast) -> set[str]:
    """What would tell an outsider of acme: ids, names, keys, and the ends of API keys."""
    marks = {"acme", "zyx", "Zyx", CANARY, f"{cast.tenant}/"}
    for model in (Tenant, Project, Service, Secret, Config, Flag, ApiKey, AuditEvent):
        marks |= {str(row.pk) for row in rows_of(cast.tenant, model)}
    # As it is shown: four hex digits alone stand in many a digest.
    marks |= {f"…{key.last4}" for key in ApiKey.objects.filter(service__project__tenant=cast.tenant)}
    marks |= {f"{name}@example.org" for name in INSIDERS}
    return marks


def told(body: str, marks: Iterable[str]) -> set[str]:
    """The marks that stand in what a page says, its scripts and its protocol fields apart."""
    said = plain(body)
    return {mark for mark in marks if mark in said}


_NOISE = (
    r'name="csrfmiddlewaretoken" value="[^"]*"',
    r'nonce="[^"]*"',
    r'"X-CSRFToken": *"[^"]*"',
    r'Request <code class="nx-code">[^<]*</code>',
)


def plain(body: str) -> str:
    """A page without what differs from one answer to the next: request id, CSRF token, nonce."""
    for pattern in _NOISE:
        body = re.sub(pattern, "…", body)
    return body


# ---- addresses


@dataclass(frozen=True)
class Route:
    template: str
    model: type[models.Model] | None

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(re.findall(r"<(?:\w+:)?(\w+)>", self.template))

    def url(self, **values: object) -> str:
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[found[1]]), self.template)


def routes() -> list[Route]:
    """Every route of the console's URLconf, regular expressions spelled out by `SPELLED`."""
    return list(_walk(admin.site.get_urls(), "/admin/", None))


def _walk(patterns: Iterable[Any], prefix: str, model: type[models.Model] | None) -> Iterator[Route]:
    by_prefix = {f"{each._meta.app_label}/{each._meta.model_name}/": each for each in admin.site._registry}
    for each in patterns:
        piece = str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from _walk(each.url_patterns, prefix + piece, by_prefix.get(piece))
        elif piece.startswith("^(?P<app_label>"):
            for label in sorted({name.split(".")[0] for name in REGISTERED}):
                yield Route(f"{prefix}{label}/", None)
        elif piece == "(?P<url>.*)$":
            yield Route(f"{prefix}no/such/page/", None)
        else:
            assert "(?P" not in piece, f"{piece} is an expression that this suite cannot spell"
            yield Route(prefix + piece, model)


def acts_of(model: type[models.Model]) -> list[str]:
    return [*admin.site._registry[model].acts, "no-such-act"]  # type: ignore[attr-defined]


def row_urls(route: Route, pk: object) -> list[str]:
    """The addresses that a route of a model gives one row."""
    assert route.model is not None
    assert set(route.parameters) <= {"object_id", "name", "version", "verb"}, route
    if "version" in route.parameters:
        verbs = ("restore", "destroy", "no-such-verb")
        return [route.url(object_id=pk, version=number, verb=verb) for number in (1, 2) for verb in verbs]
    if "name" in route.parameters:
        return [route.url(object_id=pk, name=name) for name in acts_of(route.model)]
    return [route.url(object_id=pk)]


def page_urls(world: World) -> list[str]:
    """Every address of the console, filled with acme's rows: at most three of each model."""
    found: list[str] = []
    for route in routes():
        if route.model is None and not route.parameters:
            found.append(route.template)
        elif route.model is None:
            found += [route.url(token_id=uuid7())]
        elif not route.parameters:
            found.append(route.template)
            found += [
                f"{route.template}?{query}" for query in parents(world) if route.template.endswith("add/")
            ]
        else:
            rows = rows_of(world.cast.tenant, route.model)
            for row in [*rows[:2], *rows[-1:]]:
                found += row_urls(route, row.pk)
    for service in (world.cast.backend, world.cast.umbrella, world.cast.child, world.develop):
        page = f"/admin/services/service/{service.pk}/change/"
        found += [
            f"{page}?tab={tab}" for tab in ("secrets", "configs", "flags", "keys", "activity", "settings")
        ]
    found += [
        f"/admin/projects/project/{world.cast.project.pk}/change/?section={s}" for s in ("settings", "tier")
    ]
    found.append(f"/admin/tenancy/tenant/{world.cast.tenant.pk}/change/?section=settings")
    return list(dict.fromkeys(found))


def parents(world: World) -> list[str]:
    cast = world.cast
    return [
        f"tenant={cast.tenant.pk}",
        f"project={cast.project.pk}",
        f"service={cast.backend.pk}",
        f"service={world.develop.pk}",
        f"service={cast.umbrella.pk}",
    ]


class Links(HTMLParser):
    """What a page leads to: addresses of the console in `href`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "href" and value]


def crawl(client: Client, start: Iterable[str], *, limit: int = 600) -> dict[str, Any]:
    """Open `start` and all that their pages lead to, of links that filter or sort a list one of a kind.

    Following each value of each parameter would be thousands of pages that differ in rows alone.
    """
    waiting, answers = list(dict.fromkeys(start)), {}
    known = set(waiting)
    shapes: Counter[tuple[str, tuple[str, ...]]] = Counter()
    while waiting and len(answers) < limit:
        url = waiting.pop(0)
        answer = answers[url] = client.get(url)
        if answer.status_code == 302:
            links = [answer["Location"]]
        elif answer.get("Content-Type", "").startswith("text/html"):
            page = Links()
            page.feed(answer.content.decode())
            links = page.found
        else:
            links = []
        for link in dict.fromkeys(links):
            parts = urlsplit(link)
            path = parts.path or urlsplit(url).path
            if parts.netloc or not path.startswith("/admin/") or path == "/admin/logout/":
                continue
            # Where to go back to says nothing about the page itself.
            query = [
                pair
                for pair in parse_qsl(parts.query, keep_blank_values=True)
                if pair[0] != "_changelist_filters"
            ]
            if query and query[0][0] not in ("tab", "section"):
                shape = (path, tuple(sorted(name for name, _ in query)))
                shapes[shape] += 1
                if len(query) > 1 or shapes[shape] > 1:
                    continue
            found = path + ("?" + urlencode(query) if query else "")
            if found not in known:
                known.add(found)
                waiting.append(found)
    assert not waiting, f"{len(waiting)} pages are left: the limit is too low, or links have no end"
    return answers


def everything(*, without: Iterable[str] = ("django_session",)) -> dict[str, list[Any]]:
    """All rows of all tables, as the database gives them."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table in without:
                continue
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our tables
            found[table] = sorted(
                (
                    tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
                    for row in cursor.fetchall()
                ),
                key=repr,
            )
    return found


AUDIT = ("django_session", "audit_auditevent", "audit_auditchain")


# ---- who is there at all


def test_the_console_has_these_models_and_no_other() -> None:
    found = {f"{model._meta.app_label}.{model._meta.model_name}" for model in admin.site._registry}

    assert found == REGISTERED
    assert {route.model for route in routes() if route.model} == set(admin.site._registry)


ANYTHING = {"version": "1", "role": "owner", "name": "x", "value": "x", "post": "yes", "tier": "free"}


@pytest.mark.parametrize("name", OUTSIDERS)
def test_no_row_of_acme_exists_for_a_stranger_or_a_superuser(world: World, name: str) -> None:
    cast = world.cast
    client = entered(cast, name)
    marks = marks_of(cast) - ({f"{each}@example.org" for each in INSIDERS} if name == "sue" else set())
    before = everything()
    tried = 0

    for route in routes():
        # Superusers manage accounts (SPEC 3).
        if route.model is None or not route.parameters or (name == "sue" and route.model is User):
            continue
        rows = rows_of(cast.tenant, route.model)
        assert rows, route
        nowhere = row_urls(route, uuid7())
        for method, data in (("get", None), ("post", ANYTHING)):
            for number, url in enumerate(nowhere):
                random = getattr(client, method)(url, data)
                expected = plain(random.content.decode())
                for row in (rows[0], rows[-1]):
                    there = row_urls(route, row.pk)[number]
                    real = getattr(client, method)(there, data)
                    body = real.content.decode()
                    tried += 1
                    where = f"{method} {there}"
                    assert real.status_code == random.status_code, where
                    assert real.status_code in (404, 405, 302), where
                    if real.status_code == 302:
                        # Django's short address of a row leads on, whatever the id.
                        assert real["Location"] == f"{there}change/", where
                    assert plain(body) == expected, where
                    assert told(body, marks) == set(), where

    assert tried > 150
    assert everything() == before


@pytest.mark.parametrize("name", OUTSIDERS)
def test_nothing_can_be_made_inside_what_one_does_not_see(world: World, name: str) -> None:
    client = entered(world.cast, name)
    before = everything()
    tried = 0

    for model, model_admin in admin.site._registry.items():
        parent_model = model_admin.parent_model  # type: ignore[attr-defined]
        if parent_model is None:
            continue
        add = f"/admin/{model._meta.app_label}/{model._meta.model_name}/add/"
        kind = parent_model._meta.model_name
        for parent in parents(world):
            if parent.split("=")[0] != kind:
                continue
            for method, data in (("get", None), ("post", {**ANYTHING, "key": "x", "slug": "x"})):
                real, nowhere = (
                    getattr(client, method)(f"{add}?{query}", data) for query in (parent, f"{kind}={uuid7()}")
                )
                tried += 1
                assert real.status_code == nowhere.status_code == 404, (add, parent)
                assert plain(real.content.decode()) == plain(nowhere.content.decode()), (add, parent)

    assert tried > 20
    assert everything() == before


@pytest.mark.parametrize("name", OUTSIDERS)
def test_no_page_that_an_outsider_can_open_tells_of_acme(world: World, name: str) -> None:
    cast = world.cast
    marks = marks_of(cast)
    if name == "sue":
        # Accounts are hers to manage; that somebody has one says nothing of where they work.
        marks -= {f"{insider}@example.org" for insider in INSIDERS}
    client = entered(cast, name)
    start = [route.template for route in routes() if not route.parameters and "logout" not in route.template]
    start += [f"{url}?{query}" for url in start for query in ("q=zyx", "_popup=1", "_facets=1", "e=1")]

    answers = crawl(client, start)

    found = {
        url: told(answer.content.decode(), marks)
        for url, answer in answers.items()
        if told(answer.content.decode(), marks)
    }
    # What was asked for stands in the search box.
    assert {url: marks for url, marks in found.items() if not ("q=zyx" in url and marks == {"zyx"})} == {}
    assert sum(answer.status_code == 200 for answer in answers.values()) > 30


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "head"])
def test_every_address_asks_who_is_there(world: World, method: str) -> None:
    client = Client()
    before = everything()

    for url in page_urls(world):
        answer = getattr(client, method)(url)

        assert answer.status_code == 302, url
        location = urlsplit(answer["Location"])
        assert location.netloc == "", url
        assert location.path in ("/admin/login/", "/accounts/login/") or url == "/admin/logout/", url
        assert answer.content == b"", url

    assert everything() == before


def test_a_session_of_somebody_deactivated_is_nobody(world: World) -> None:
    client = entered(world.cast, "carol")
    User.objects.filter(pk=world.cast.users["carol"].pk).update(is_active=False)

    answers = {url: client.get(url) for url in page_urls(world)}

    assert {answer.status_code for answer in answers.values()} == {302}
    assert all(answer.content == b"" for answer in answers.values())


def test_a_member_who_was_removed_sees_nothing_with_the_session_of_before(world: World) -> None:
    from apps.projects.operations import remove_project_member

    cast = world.cast
    client = entered(cast, "mona")
    page = f"/admin/vault/secret/{world.secrets['production'].pk}/change/"
    assert client.get(page).status_code == 200

    remove_project_member(actor=cast.actor("alice"), project=cast.project, user=cast.users["mona"])

    assert client.get(page).status_code == 404
    assert client.post(page.replace("change", "reveal")).status_code == 404
    assert "zyx" not in client.get("/admin/vault/secret/").content.decode()


# ---- what addresses do


@pytest.mark.parametrize(("name", "pages"), [("carol", 100), ("alice", 100), ("bob", 50)])
def test_asking_changes_nothing_and_shows_no_value_and_no_page_may_be_kept(
    world: World, command: Actor, name: str, pages: int
) -> None:
    # `up` makes them; a test's database begins without.
    keys.create_missing_server_keys()
    production = world.cast.backend
    set_secret(
        actor=command,
        service=production,
        key="zyx.file",
        value=CANARY.encode(),
        type=SecretType.FILE,
        file_name="zyx.pem",
    )
    set_secret(
        actor=command, service=production, key="zyx.production.token", value=b"newer-" + CANARY.encode()
    )
    client = entered(world.cast, name)
    before, events = everything(without=AUDIT), AuditEvent.objects.count()

    answers = crawl(client, [*page_urls(world), "/admin/"])

    assert everything(without=AUDIT) == before
    new = AuditEvent.objects.order_by("time")[events:]
    assert {event.action for event in new} <= {"secret.list", "action.denied"}
    assert [url for url, answer in answers.items() if answer.status_code >= 500] == []
    assert sum(answer.status_code == 200 for answer in answers.values()) > pages
    assert any("zyx.develop.token" in answer.content.decode() for answer in answers.values())
    for url, answer in answers.items():
        body = answer.content.decode()
        assert CANARY not in body, url
        assert "Y2FuYXJ5" not in body, url  # The same in base64.
        assert not any(CANARY in value for value in answer.headers.values()), url
        if answer.status_code == 200:
            assert "no-store" in answer.get("Cache-Control", "") or "jsi18n" in url, url
            assert answer["X-Frame-Options"] == "DENY", url
            assert answer["X-Content-Type-Options"] == "nosniff", url


@pytest.mark.parametrize("method", ["head", "options", "put", "patch", "delete", "trace"])
def test_no_other_method_does_anything(world: World, method: str) -> None:
    client = entered(world.cast, "carol")
    before = everything(without=AUDIT)

    for url in page_urls(world):
        answer = getattr(client, method)(url)

        assert answer.status_code < 500, url
        assert CANARY not in answer.content.decode(), url

    assert everything(without=AUDIT) == before
    assert not AuditEvent.objects.filter(action="secret.reveal").exists()


def test_every_post_without_a_token_is_refused(world: World) -> None:
    client = entered(world.cast, "carol", enforce_csrf_checks=True)
    before = everything()

    for url in page_urls(world):
        answer = client.post(url, {"post": "yes", "version": "1", "name": "x", "tier": "free"})

        assert answer.status_code == 403, url
        assert CANARY not in answer.content.decode()

    assert everything() == before


EVIL = (
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    "/\t/evil.example/",
    "http://testserver@evil.example/",
    " //evil.example/",
)


@pytest.mark.parametrize("there", EVIL)
def test_no_address_leads_out_of_the_console(world: World, there: str) -> None:
    carol, nobody = entered(world.cast, "carol"), Client()
    user = User.objects.get(email="carol@example.org")
    user.set_password("correct horse battery staple")
    user.save()
    carol = entered(world.cast, "carol")
    query = urlencode({"next": there})

    answers = [
        nobody.get(f"/admin/login/?{query}"),
        carol.get(f"/admin/login/?{query}"),
        carol.get(f"/admin/?{query}"),
        carol.get(f"/admin/presence/?{query}"),
        carol.post(f"/admin/presence/?{query}", {"password": "correct horse battery staple"}),
        carol.post("/admin/presence/", {"password": "correct horse battery staple", "next": there}),
        carol.get(f"/admin/password_change/?{query}"),
        carol.get(f"/admin/vault/secret/add/?{query}&_continue=1"),
        carol.get(f"/admin/vault/secret/{there}"),
        carol.post(f"/admin/logout/?{query}", {"next": there}),
    ]

    for answer in answers:
        assert answer.status_code < 500
        location = answer.get("Location", "/")
        assert location.startswith("/"), location
        assert not location.startswith(("//", "/\\", "/\t")), location
        links = Links()
        links.feed(answer.content.decode())
        assert not [link for link in links.found if urlsplit(link).netloc or link.startswith("javascript:")]


# ---- pages that Django, unfold and guardian bring along, and that are not there


def finally_answered(client: Client, url: str, method: str = "get") -> Any:
    """What an address comes to, after Django's short addresses led on."""
    answer = getattr(client, method)(url)
    return client.get(answer["Location"]) if answer.status_code == 302 else answer


@pytest.mark.parametrize("name", ["carol", "mallory", "sue"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_pages_of_others_that_would_write_or_show_past_operations_are_not_there(
    world: World, name: str, method: str
) -> None:
    client = entered(world.cast, name)
    carol, project = world.cast.users["carol"].pk, world.cast.project.pk
    before = everything()
    addresses = [
        f"/admin/tenancy/user/{carol}/password/",
        f"/admin/auth/user/{carol}/password/",
        f"/admin/projects/project/{project}/permissions/",
        f"/admin/projects/project/{project}/permissions/user-manage/{carol}/",
        f"/admin/projects/project/{project}/permissions/group-manage/1/",
        "/admin/auth/group/",
        "/admin/auth/permission/",
        "/admin/guardian/userobjectpermission/",
        "/admin/projects/projectgrant/",
        "/admin/services/servicegrant/",
        "/admin/services/workloadidentity/",
        "/admin/vault/secretversion/",
        "/admin/vault/configversion/",
        "/admin/core/serverkey/",
        "/admin/core/datakey/",
        "/admin/sessions/session/",
        "/admin/admin/logentry/",
        "/admin/account/emailaddress/",
        "/admin/mfa/authenticator/",
        "/admin/contenttypes/contenttype/",
        "/admin/doc/",
        "/admin/doc/models/vault.secret/",
        "/admin/password_reset/",
        "/admin/search/?s=zyx",
        "/accounts/signup/",
        "/accounts/password/reset/",
        "/accounts/email/",
        "/accounts/2fa/",
    ]

    answers = {url: finally_answered(client, url, method) for url in addresses}

    assert {url: answer.status_code for url, answer in answers.items()} == dict.fromkeys(addresses, 404)
    assert not any(told(answer.content.decode(), {"zyx", "Zyx", CANARY}) for answer in answers.values())
    assert everything() == before


@pytest.mark.parametrize("name", ["carol", "bob", "mallory", "sue"])
def test_view_on_site_knows_no_row(world: World, name: str) -> None:
    client = entered(world.cast, name)
    types = {model: ContentType.objects.get_for_model(model).pk for model in apps.get_models()}
    nothing = plain(client.get("/admin/no/such/page/").content.decode())

    for model, content_type in types.items():
        row = model._default_manager.order_by("pk").first()
        for pk in (row.pk if row else 1, uuid7(), "x", "1", "9" * 30, "%00"):
            answer = client.get(f"/admin/r/{content_type}/{pk}/")
            assert answer.status_code == 404, (model, pk)
            assert plain(answer.content.decode()) == nothing, (model, pk)
    for content_type in ("x", "0", "-1", "9" * 30, "%00"):
        answer = client.get(f"/admin/r/{content_type}/{world.cast.backend.pk}/")
        assert answer.status_code == 404, content_type
        assert plain(answer.content.decode()) == nothing, content_type


def test_translations_of_scripts_name_nothing(world: World) -> None:
    answer = entered(world.cast, "carol").get("/admin/jsi18n/")

    assert answer.status_code == 200
    assert told(answer.content.decode(), {"acme", "zyx", CANARY}) == set()


# ---- one extra grant shows one thing


def test_a_grant_on_one_umbrella_shows_neither_its_children_nor_its_neighbours(world: World) -> None:
    cast = world.cast
    content_type = ContentType.objects.get_for_model(Service)
    for codename in ("service:read", "config:read"):
        ServiceGrant.objects.create(
            user=cast.users["mallory"],
            content_object=cast.umbrella,
            permission=Permission.objects.get(codename=codename, content_type=content_type),
        )
    client = entered(cast, "mallory")
    hidden = {str(row.pk) for row in (cast.backend, cast.child, cast.frontend, world.develop)}
    hidden |= {"checkout", "zyx-lab", "zyx.production", "zyx.develop", "zyx.umbrella.token", CANARY}

    answers = crawl(client, ["/admin/", f"/admin/services/service/{cast.umbrella.pk}/change/?tab=settings"])

    assert any("zyx.umbrella.host" in answer.content.decode() for answer in answers.values())
    assert {url: told(a.content.decode(), hidden) for url, a in answers.items()} == {
        url: set[str]() for url in answers
    }


def test_a_grant_on_one_child_shows_nothing_of_its_umbrella(world: World) -> None:
    cast = world.cast
    content_type = ContentType.objects.get_for_model(Service)
    for codename in ("service:read", "config:read", "flag:read", "secret:list", "secret:reveal"):
        ServiceGrant.objects.create(
            user=cast.users["mallory"],
            content_object=cast.child,
            permission=Permission.objects.get(codename=codename, content_type=content_type),
        )
    client = entered(cast, "mallory")
    hidden = {str(cast.umbrella.pk), "production/common", ">common<", "zyx.umbrella", CANARY}

    answers = crawl(client, ["/admin/", f"/admin/services/service/{cast.child.pk}/change/?tab=settings"])

    assert any("checkout" in answer.content.decode() for answer in answers.values())
    assert {url: told(a.content.decode(), hidden) for url, a in answers.items()} == {
        url: set[str]() for url in answers
    }


def test_a_grant_that_has_ended_shows_nothing(world: World) -> None:
    cast = world.cast
    content_type = ContentType.objects.get_for_model(Service)
    ServiceGrant.objects.create(
        user=cast.users["mallory"],
        content_object=cast.backend,
        permission=Permission.objects.get(codename="service:read", content_type=content_type),
        ends_at=timezone.now(),
    )

    answer = entered(cast, "mallory").get(f"/admin/services/service/{cast.backend.pk}/change/")

    assert answer.status_code == 404


# ---- addresses that are no addresses


@pytest.mark.parametrize(
    "pk",
    ["x", "1", "None", "..", "%00", "%2e%2e", "_41", "' OR 1=1 --", "9" * 400, "{}", "é", "quote_3F"],
)
def test_ids_that_are_none_are_nothing(world: World, pk: str) -> None:
    client = entered(world.cast, "carol")
    nothing = plain(client.get(f"/admin/vault/secret/{uuid7()}/change/").content.decode())

    for app in ("vault/secret", "services/service", "tenancy/user", "audit/auditevent", "projects/project"):
        for page in ("change", "history", "delete"):
            answer = client.get(f"/admin/{app}/{pk}/{page}/")
            assert answer.status_code == 404, (app, page)
            if app == "vault/secret":
                assert plain(answer.content.decode()) == nothing


def test_one_row_answers_to_one_model_only(world: World) -> None:
    client = entered(world.cast, "carol")
    rows: dict[str, UUID] = {
        "vault/secret": world.secrets["production"].pk,
        "vault/config": world.configs["production"].pk,
        "flags/flag": world.flags["production"].pk,
        "services/service": world.cast.backend.pk,
        "services/apikey": ApiKey.objects.filter(slot=Slot.PRIMARY).latest("created_at").pk,
    }

    for app, pk in rows.items():
        for other in rows:
            answer = client.get(f"/admin/{other}/{pk}/change/")
            assert (answer.status_code == 200) == (app == other), (app, other)


def test_what_was_deleted_is_gone_from_every_page(world: World) -> None:
    from apps.services.operations import delete_service

    cast = world.cast
    delete_service(actor=cast.actor("alice"), service=world.develop)
    client = entered(cast, "carol")

    pages = {
        f"/admin/services/service/{world.develop.pk}/change/",
        f"/admin/vault/secret/{world.secrets['develop'].pk}/change/",
        f"/admin/vault/config/{world.configs['develop'].pk}/change/",
        f"/admin/flags/flag/{world.flags['develop'].pk}/change/",
        f"/admin/vault/secret/add/?service={world.develop.pk}",
        f"/admin/services/apikey/add/?service={world.develop.pk}",
    }

    assert {client.get(url).status_code for url in pages} == {404}
    lists = ("services/service", "vault/secret", "vault/config", "flags/flag", "services/apikey")
    for name in lists:
        assert "zyx-lab" not in client.get(f"/admin/{name}/").content.decode(), name


def test_flags_of_every_shape_open(world: World, command: Actor) -> None:
    definition = {
        "key": "zyx.shape",
        "type": "json",
        "enabled": True,
        "variants": [{"key": "a", "value": None}, {"key": "b", "value": {"deep": ["zyx"]}}],
        "default": None,
        "off": "b",
    }
    flag = set_flag(actor=command, service=world.develop, key="zyx.shape", definition=definition)

    assert ORIGIN.address
    assert entered(world.cast, "vic").get(f"/admin/flags/flag/{flag.pk}/change/").status_code == 200

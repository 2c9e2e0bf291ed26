"""What stands on the tabs of a service's page.

`services` sits below flags and vault and may not import them; each registers its tabs here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest

from apps.core.access import allows, permitted
from apps.core.actor import Actor
from apps.core.admin import actor_of, add_url, page_url
from apps.core.pages import Button, Cell, Panel, Row, Tone, badge, code, link, marked
from apps.services.inheritance import INHERITED, scope, winners
from apps.services.models import Service
from apps.services.restoring import deleted_panel

# With 1,000 entries a page stays far below 250 KB, and two pages of scrolling find nothing anyway.
ENTRIES_A_PAGE = 50


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a long list is shown, and how to ask for another."""

    number: int
    pages: int
    total: int
    query: str
    previous_url: str
    next_url: str


@dataclass(frozen=True, slots=True)
class TabContent:
    panels: Sequence[Panel] = ()
    # Of a tab whose list is long: a search box and pages.
    paging: Paging | None = None
    form: Any = None


@dataclass(frozen=True, slots=True)
class ServiceTab:
    """One tab. `permission` is asked on the service; `fits` tells whether such a service has it."""

    name: str
    label: str
    permission: str
    order: int
    content: Callable[[HttpRequest, Service], TabContent]
    count: Callable[[Service], int] | None = None
    fits: Callable[[Service], bool] = lambda service: True
    # For those who may see it by another right than `permission`.
    also_permission: str = ""


_tabs: dict[str, ServiceTab] = {}


def register_tab(tab: ServiceTab) -> None:
    _tabs[tab.name] = tab


def tabs_of(actor: Actor, service: Service) -> list[ServiceTab]:
    """The tabs that `actor` may open on the page of `service`, in order."""
    asked = {permission for tab in _tabs.values() for permission in (tab.permission, tab.also_permission)}
    held = permitted(actor, asked - {""}, service)
    return [
        tab
        for tab in sorted(_tabs.values(), key=lambda tab: tab.order)
        if tab.fits(service) and held & {tab.permission, tab.also_permission}
    ]


def tab_url(service: Service, tab: str, **more: str) -> str:
    return page_url(service) + "?" + urlencode({"tab": tab, **more})


@dataclass(frozen=True, slots=True)
class EntryTab:
    """Secrets, configs or flags in effect: own ones and inherited ones, by key.

    `describe` gives for the entries of one page the cells beside the key, by id; `buttons` what an
    own entry offers.
    """

    model: type[models.Model]
    name: str
    title: str
    columns: Sequence[str]
    read_permission: str
    write_permission: str
    describe: Callable[[list[UUID]], dict[UUID, Sequence[Cell]]]
    buttons: Callable[[Any], Sequence[Button]] = lambda entry: ()
    # What those buttons do asks for this right on the service, once for all rows.
    buttons_permission: str = ""

    @property
    def singular(self) -> str:
        return str(self.model._meta.verbose_name)

    def content(self, request: HttpRequest, service: Service) -> TabContent:
        actor = actor_of(request)
        umbrella = service.umbrella
        sees_umbrella = umbrella is not None and allows(actor, self.read_permission, umbrella)
        owners = scope(service) if sees_umbrella else [service.pk]
        rows: Iterable[Any] = (
            self.model._default_manager.filter(service_id__in=owners, deleted_at=None)
            .only("id", "key", "service_id", "is_final")
            .order_by()
        )
        query = request.GET.get("q", "").strip()
        found = [
            (entry, source)
            for key, (entry, source) in winners(rows, service_id=service.pk).items()
            if query.lower() in key.lower()
        ]
        page = Paginator(found, ENTRIES_A_PAGE).get_page(request.GET.get("p"))
        cells = self.describe([entry.pk for entry, _ in page.object_list])
        held = permitted(
            actor, {self.write_permission, self.buttons_permission or self.read_permission}, service
        )
        may_write = self.write_permission in held
        may_act = (self.buttons_permission or self.read_permission) in held
        return TabContent(
            panels=[
                Panel(
                    title=self.title,
                    columns=("Key", *self.columns),
                    rows=[
                        self._row(service, entry, source, cells[entry.pk], may_write, may_act)
                        for entry, source in page.object_list
                        if entry.pk in cells
                    ],
                    empty="No key matches." if query else f"No {self.title.lower()} yet.",
                    buttons=[
                        Button(f"New {self.title.lower()[:-1]}", add_url(self.model, service), "primary")
                    ]
                    if may_write
                    else (),
                ),
                *(deleted_panel(self.model._default_manager.all(), service) if may_write else ()),
            ],
            paging=Paging(
                number=page.number,
                pages=page.paginator.num_pages,
                total=page.paginator.count,
                query=query,
                previous_url=tab_url(service, self.name, q=query, p=str(page.number - 1))
                if page.has_previous()
                else "",
                next_url=tab_url(service, self.name, q=query, p=str(page.number + 1))
                if page.has_next()
                else "",
            ),
        )

    def _row(
        self,
        service: Service,
        entry: Any,
        source: str,
        cells: Sequence[Cell],
        may_write: bool,
        may_act: bool,
    ) -> Row:
        entry.service = service.umbrella if source == INHERITED else service
        marks = [badge("final", Tone.INFO)] if entry.is_final else []
        buttons: list[Button] = []
        if source == INHERITED:
            marks.insert(0, badge("INHERITED", Tone.INFO))
            if service.umbrella is not None:
                buttons.append(Button("Open umbrella", tab_url(service.umbrella, self.name), about=entry.key))
            if may_write and not entry.is_final:
                buttons.append(
                    Button("Override here", add_url(self.model, service, key=entry.key), about=entry.key)
                )
            name: Cell = code(entry.key)
        else:
            buttons += self.buttons(entry) if may_act else ()
            name = link(page_url(entry), entry.key)
        return Row([marked(name, marks), *cells], buttons)

    def count(self, service: Service) -> int:
        """How many own entries of this kind the service has."""
        return self.model._default_manager.filter(service=service, deleted_at=None).count()

    def register(self, *, order: int, fits: Callable[[Service], bool] = lambda service: True) -> None:
        register_tab(
            ServiceTab(
                name=self.name,
                label=self.title,
                permission=self.read_permission,
                order=order,
                content=self.content,
                count=self.count,
                fits=fits,
            )
        )

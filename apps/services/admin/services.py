"""Services and their keys in the console."""

from django import forms
from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from apps.audit.admin import activity_panel
from apps.audit.models import AuditEvent
from apps.core.access import allows
from apps.core.actor import Actor
from apps.core.admin import (
    Act,
    OperationAdmin,
    actor_of,
    add_url,
    list_url,
    page_url,
    stand_in,
    values_filter,
)
from apps.core.forms import OperationForm
from apps.core.pages import (
    Button,
    Cell,
    Page,
    Panel,
    Row,
    Tab,
    Tone,
    badge,
    code,
    environment_badge,
    link,
    when,
)
from apps.projects.models import Project
from apps.projects.pages import register_panels
from apps.projects.tiers import STANDARD_ENVIRONMENTS
from apps.services import operations
from apps.services.models import Kind, Service
from apps.services.tabs import ServiceTab, TabContent, register_tab, tab_url, tabs_of

ACTIVITY_SHOWN = 50
SERVICES_SHOWN = 500


class ServiceForm(OperationForm):
    """A new service of a project."""

    title = "New service"
    slug = forms.CharField(
        max_length=63, help_text="Lower-case letters, digits and -; it stands in addresses and never changes."
    )
    name = forms.CharField(max_length=150, required=False, help_text="For people; by default the slug.")
    environment = forms.CharField(max_length=63)
    kind = forms.ChoiceField(
        choices=Kind.choices, help_text="Backends read secrets; frontends never do. Never changes."
    )
    is_umbrella = forms.BooleanField(
        required=False,
        label="Umbrella",
        help_text="It has no keys; the services linked to it inherit its entries.",
    )
    umbrella = forms.ModelChoiceField(
        queryset=Service.objects.none(),
        required=False,
        label="Inherits from",
        help_text="An umbrella of the same environment and kind.",
    )

    def prepare(self) -> None:
        names = self.parent.environments or self.parent.limits.environments
        if names is None:
            # The tier takes any name: those in use, and one that is typed.
            used = Service.objects.filter(project=self.parent).values_list("environment", flat=True)
            names = sorted({*STANDARD_ENVIRONMENTS, *used.distinct()[:50]}, key=_environment_order)
            self.fields["environment"] = forms.CharField(
                max_length=63, help_text=f"For example {', '.join(names)}. Never changes."
            )
        else:
            self.fields["environment"] = forms.ChoiceField(
                choices=[(name, name) for name in sorted(names, key=_environment_order)],
                help_text="Never changes.",
            )
        umbrellas = Service.objects.visible_to(self.actor, "service:read").filter(
            project=self.parent, is_umbrella=True
        )
        self.fields["umbrella"].queryset = umbrellas.select_related("project__tenant")  # type: ignore[attr-defined]

    def operate(self) -> Service:
        return operations.create_service(actor=self.actor, project=self.parent, **self.cleaned_data)


def _environment_order(name: str) -> tuple[int, str]:
    standard = name in STANDARD_ENVIRONMENTS
    return (STANDARD_ENVIRONMENTS.index(name) if standard else len(STANDARD_ENVIRONMENTS), name)


class UmbrellaForm(OperationForm):
    """What the service inherits from."""

    title = "Inheritance"
    submit_label = "Save inheritance"
    umbrella = forms.ModelChoiceField(
        queryset=Service.objects.none(), required=False, label="Inherits from", empty_label="Nothing"
    )

    def prepare(self) -> None:
        service = self.instance
        self.fields["umbrella"].queryset = (  # type: ignore[attr-defined]
            Service.objects.visible_to(self.actor, "service:read")
            .filter(
                project=service.project_id,
                environment=service.environment,
                kind=service.kind,
                is_umbrella=True,
            )
            .select_related("project__tenant")
        )
        self.initial.setdefault("umbrella", service.umbrella_id)

    def operate(self) -> Service:
        return operations.link_umbrella(
            actor=self.actor, service=self.instance, umbrella=self.cleaned_data["umbrella"]
        )


def _disable(actor: Actor, service: Service) -> str:
    operations.disable_service(actor=actor, service=service)
    return f"{service.slug} is disabled: its keys are refused within 2 seconds."


def _resume(actor: Actor, service: Service) -> str:
    operations.resume_service(actor=actor, service=service)
    return f"{service.slug} is served again."


def _delete(actor: Actor, service: Service) -> str:
    operations.delete_service(actor=actor, service=service)
    return f"{service.slug} is deleted. It can be restored for 30 days."


@admin.register(Service)
class ServiceAdmin(OperationAdmin):
    read_permission = "service:read"
    add_form = ServiceForm
    add_permission = "service:manage"
    parent_model = Project
    parent_permission = "project:read"
    change_form = UmbrellaForm
    change_permission = "service:manage"
    acts = {
        "disable": Act(
            "Disable",
            "service:manage",
            _disable,
            lambda actor, service: [
                f"All keys of {service} are refused within 2 seconds. Nothing of it is lost."
            ],
            offered=lambda service: service.disabled_at is None and not service.is_umbrella,
        ),
        "resume": Act(
            "Serve again",
            "service:manage",
            _resume,
            lambda actor, service: [f"Keys of {service} that were not revoked work as before."],
            offered=lambda service: service.disabled_at is not None,
        ),
        "delete": Act(
            "Delete",
            "service:manage",
            _delete,
            lambda actor, service: [
                f"{service} and its entries are no longer served, and its keys die at once.",
                "Its slug stays reserved. For 30 days an owner can have it restored; then it is purged.",
            ],
            tone="danger",
            returns=lambda service: page_url(service.project),
        ),
    }

    list_display = (
        "name_and_slug",
        "project",
        "environment_shown",
        "kind",
        "state",
        "inherits_from",
        "revision",
    )
    list_select_related = ("project__tenant", "umbrella__project__tenant")
    list_filter = (
        values_filter("project__slug", "project", "project"),
        values_filter("environment", "environment", "environment"),
        "kind",
        "is_umbrella",
    )
    search_fields = ("slug", "name")
    ordering = ("project", "environment", "slug")

    @admin.display(description="service", ordering="slug")
    def name_and_slug(self, service: Service) -> str:
        return service.slug if service.name == service.slug else f"{service.slug} – {service.name}"

    @admin.display(description="environment", ordering="environment")
    def environment_shown(self, service: Service) -> Cell:
        return environment_badge(service.environment)

    @admin.display(description="state", ordering="disabled_at")
    def state(self, service: Service) -> Cell:
        return _state(service)

    @admin.display(description="inherits from", ordering="umbrella")
    def inherits_from(self, service: Service) -> str:
        return str(_seen_umbrella(service) or "–")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        services: QuerySet[Service] = super().get_queryset(request)
        # An extra grant may be for the child alone; to its holder the umbrella does not exist.
        seen = Service.objects.visible_to(actor_of(request), self.read_permission)
        return services.select_related("project__tenant", "umbrella__project__tenant").annotate(
            sees_umbrella=Exists(seen.filter(pk=OuterRef("umbrella_id")))
        )

    def page(self, request: HttpRequest, service: Service) -> Page:
        stand_in(request, service)
        actor = actor_of(request)
        tabs = tabs_of(actor, service)
        active = next((tab for tab in tabs if tab.name == request.GET.get("tab")), tabs[0] if tabs else None)
        content = active.content(request, service) if active else TabContent()
        badges = [environment_badge(service.environment), badge(service.kind)]
        if service.is_umbrella:
            badges.append(badge("umbrella", Tone.INFO))
        if service.disabled_at:
            badges.append(badge("disabled", Tone.WARNING))
        return Page(
            title=service.name,
            crumbs=[
                (service.project.tenant.slug, page_url(service.project.tenant)),
                (service.project.slug, page_url(service.project)),
                (service.environment, f"{list_url(Service)}?environment={service.environment}"),
            ],
            badges=badges,
            buttons=self.buttons(request, service) if active and active.name == "settings" else (),
            tabs=[
                Tab(tab.label, tab_url(service, tab.name), tab is active, tab.count and tab.count(service))
                for tab in tabs
            ],
            facts=_facts(service) if active and active.name == "settings" else (),
            panels=content.panels,
            extra={"paging": content.paging, "tab": active.name if active else ""},
        )

    def form_for(self, request: HttpRequest, obj: Service) -> type[OperationForm] | None:
        fits = request.GET.get("tab") == "settings" and not obj.is_umbrella
        return super().form_for(request, obj) if fits else None

    def made(self, request: HttpRequest, form: OperationForm, made: Service) -> HttpResponseBase:
        messages.success(request, f"The service {made.slug} is saved.")
        return redirect(tab_url(made, "settings") if form.instance else page_url(made))


def _state(service: Service) -> Cell:
    if service.disabled_at:
        return badge("disabled", Tone.WARNING)
    return badge("umbrella", Tone.INFO) if service.is_umbrella else badge("serving", Tone.GOOD)


def _seen_umbrella(service: Service) -> Service | None:
    """The umbrella, as far as it exists for this person. `service` comes from `get_queryset`."""
    return service.umbrella if getattr(service, "sees_umbrella", False) else None


def _facts(service: Service) -> list[tuple[str, Cell]]:
    umbrella = _seen_umbrella(service)
    return [
        ("Address", code(service)),
        ("Id", code(service.pk)),
        ("Kind", service.kind),
        ("Environment", service.environment),
        ("Revision", str(service.revision)),
        ("Inherits from", link(page_url(umbrella), umbrella) if umbrella else "nothing"),
        ("Created", when(service.created_at)),
        ("Changed", when(service.updated_at)),
    ]


def _linked(service: Service | None) -> Cell:
    return link(page_url(service), service) if service else "nothing"


def _settings_tab(request: HttpRequest, service: Service) -> TabContent:
    if not service.is_umbrella:
        return TabContent()
    visible = Service.objects.visible_to(actor_of(request), "service:read")
    children = list(visible.filter(umbrella=service).order_by("slug")[:200])
    rows = [
        Row([link(page_url(child), child.slug), child.name, when(child.created_at)]) for child in children
    ]
    return TabContent(
        [Panel("Children", ("Service", "Name", "Created"), rows, "No service inherits from it.")]
    )


def _activity_tab(request: HttpRequest, service: Service) -> TabContent:
    events = AuditEvent.objects.readable_by(actor_of(request)).filter(service_id=service.pk)
    return TabContent([activity_panel(list(events.order_by("-time")[:ACTIVITY_SHOWN]))])


register_tab(
    ServiceTab(
        "activity", "Activity", "audit:read", 50, _activity_tab, also_permission="audit:read_non_secret"
    )
)
register_tab(ServiceTab("settings", "Settings", "service:read", 60, _settings_tab))


def _services_panel(request: HttpRequest, project: Project) -> list[Panel]:
    """The project's services, environment by environment, the most guarded last."""
    actor = actor_of(request)
    services = list(
        Service.objects.visible_to(actor, "service:read")
        .filter(project=project)
        .select_related("umbrella")
        .order_by("environment", "slug")[:SERVICES_SHOWN]
    )
    services.sort(key=lambda service: (_environment_order(service.environment), service.slug))
    seen = {service.pk for service in services}
    rows = [
        Row(
            [
                link(page_url(service), service.slug),
                environment_badge(service.environment),
                service.kind,
                _state(service),
                link(page_url(service.umbrella), service.umbrella.slug)
                if service.umbrella is not None and service.umbrella.pk in seen
                else "–",
                str(service.revision),
            ]
        )
        for service in services
    ]
    may_manage = allows(actor, "service:manage", project)
    return [
        Panel(
            "Services",
            ("Service", "Environment", "Kind", "State", "Inherits from", "Revision"),
            rows,
            "No service yet: make the first one, then give it a key.",
            buttons=[Button("New service", add_url(Service, project), "primary")] if may_manage else (),
        )
    ]


register_panels(_services_panel)

"""Projects and their members in the console."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from apps.core.access import ProjectRole, allows
from apps.core.actor import Actor
from apps.core.admin import (
    Act,
    OperationAdmin,
    act_url,
    actor_of,
    add_url,
    page_url,
    values_filter,
)
from apps.core.forms import OperationForm
from apps.core.pages import Button, Meter, Page, Panel, Row, Tone, badge, code, link, when
from apps.projects import holdings, operations
from apps.projects.models import Project, ProjectMember
from apps.projects.pages import project_panels
from apps.projects.tiers import AB_TESTING, TIERS
from apps.tenancy.models import Tenant
from apps.tenancy.operations import operator_with
from apps.tenancy.pages import register_panels

MEMBERS_SHOWN = 500
PROJECTS_SHOWN = 500


class NewProjectForm(OperationForm):
    """A new project of a tenant."""

    title = "New project"
    slug = forms.CharField(
        max_length=63, help_text="Lower-case letters, digits and -; it stands in addresses and never changes."
    )
    name = forms.CharField(max_length=150, required=False, help_text="For people; by default the slug.")
    tier = forms.ChoiceField(choices=[(name, name) for name in TIERS], initial="free")

    def operate(self) -> Project:
        return operations.create_project(actor=self.actor, tenant=self.parent, **self.cleaned_data)


class ProjectForm(OperationForm):
    """A project's name and environments."""

    title = "Settings"
    name = forms.CharField(max_length=150)
    environments = forms.CharField(
        required=False,
        help_text="Separated by spaces. Empty: all that the tier allows. Services may stand in these alone.",
    )
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self) -> None:
        self.initial.setdefault("name", self.instance.name)
        self.initial.setdefault("environments", " ".join(self.instance.environments))
        self.initial.setdefault("row_version", self.instance.row_version)

    def operate(self) -> Project:
        given = self.cleaned_data
        return operations.change_project(
            actor=self.actor,
            project=self.instance,
            name=given["name"],
            environments=given["environments"].replace(",", " ").split(),
            expected_row_version=given["row_version"],
        )


class TierForm(OperationForm):
    """Another tier."""

    title = "Tier"
    submit_label = "Change the tier"
    tier = forms.ChoiceField(
        choices=[(name, name) for name in TIERS], help_text="Caps change at once; nothing is ever deleted."
    )

    def prepare(self) -> None:
        self.initial.setdefault("tier", self.instance.tier)

    def operate(self) -> Project:
        return operations.change_tier(actor=self.actor, project=self.instance, tier=self.cleaned_data["tier"])


def _activate(actor: Actor, project: Project) -> str:
    operations.activate_add_on(actor=actor, project=project, name=AB_TESTING)
    return "The add-on ab_testing is active."


def _deactivate(actor: Actor, project: Project) -> str:
    operations.deactivate_add_on(actor=actor, project=project, name=AB_TESTING)
    return "The add-on ab_testing is off."


def _has_add_on(project: Project) -> bool:
    return project.add_ons.filter(name=AB_TESTING).exists()


@admin.register(Project)
class ProjectAdmin(OperationAdmin):
    read_permission = "project:read"
    add_form = NewProjectForm
    add_permission = "project:create"
    parent_model = Tenant
    parent_permission = "tenant:read"
    change_form = ProjectForm
    change_permission = "project:change"
    acts = {
        "activate-ab-testing": Act(
            "Activate A/B testing",
            "project:change_tier",
            _activate,
            lambda actor, project: ["Flags may have rules, overrides and splits from then on."],
            offered=lambda project: AB_TESTING in project.limits.add_ons and not _has_add_on(project),
        ),
        "deactivate-ab-testing": Act(
            "Deactivate A/B testing",
            "project:change_tier",
            _deactivate,
            lambda actor, project: [
                "Flags that carry rules, overrides or splits serve their default to everybody at once.",
                "Nothing of them is lost; activating it again brings them back.",
            ],
            offered=_has_add_on,
        ),
    }

    list_display = ("slug", "name", "tenant", "tier", "created_at")
    list_select_related = ("tenant",)
    list_filter = (values_filter("tenant__slug", "tenant", "tenant"), "tier")
    search_fields = ("slug", "name")
    ordering = ("slug",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        return super().get_queryset(request).select_related("tenant")

    def page(self, request: HttpRequest, project: Project) -> Page:
        actor = actor_of(request)
        changing = self._section(request) == "settings"
        panels = [] if changing else [*project_panels(request, project), _members_panel(actor, project)]
        buttons = self.buttons(request, project) if changing else []
        if allows(actor, "project:change", project):
            buttons.insert(
                0,
                Button("Back to the project", page_url(project))
                if changing
                else Button("Settings", page_url(project) + "?section=settings"),
            )
            if changing and allows(actor, "project:change_tier", project):
                buttons.insert(1, Button("Change the tier", page_url(project) + "?section=tier"))
        marks = [badge(f"tier {project.tier}", Tone.INFO)]
        marks += [badge(add_on.name) for add_on in project.add_ons.all()]
        return Page(
            title=project.name,
            crumbs=[(project.tenant.slug, page_url(project.tenant))],
            badges=marks,
            buttons=buttons,
            facts=[
                ("Address", code(project)),
                ("Environments", ", ".join(project.environments or project.limits.environments or ["any"])),
                ("Audit events are kept", f"{project.limits.audit_retention_days} days"),
                ("Created", when(project.created_at)),
            ],
            meters=[
                Meter(usage.quota, usage.used, usage.cap)
                for usage in holdings.usage(project.pk, project.tier)
            ],
            panels=panels,
        )

    def _section(self, request: HttpRequest) -> str:
        section = request.GET.get("section", "")
        return section if section in ("settings", "tier") else ""

    def form_for(self, request: HttpRequest, obj: Project) -> type[OperationForm] | None:
        match self._section(request):
            case "settings":
                return super().form_for(request, obj)
            case "tier" if allows(actor_of(request), "project:change_tier", obj):
                return TierForm
            case _:
                return None

    def made(self, request: HttpRequest, form: OperationForm, made: Project) -> HttpResponseBase:
        messages.success(request, f"The project {made.slug} is saved.")
        return redirect(page_url(made))


def _members_panel(actor: Actor, project: Project) -> Panel:
    may_manage = allows(actor, "member:manage", project)
    members: list[ProjectMember] = []
    if allows(actor, "member:read", project):
        members = list(project.members.select_related("user").order_by("user__email")[:MEMBERS_SHOWN])
    for member in members:
        member.project = project
    return Panel(
        "Members",
        ("Person", "Name", "Role", "Since", "Until"),
        [
            Row(
                [
                    link(page_url(member), member.user.email),
                    member.user.name or "–",
                    badge(member.role),
                    when(member.created_at),
                    when(member.ends_at, never="–"),
                ],
                [Button("Remove", act_url(member, "remove"), "danger", about=member.user.email)]
                if may_manage
                else (),
            )
            for member in members
        ],
        "Only owners and managers see who works here." if not members else "",
        buttons=[Button("Add a member", add_url(ProjectMember, project), "primary")] if may_manage else (),
        note="Owners of the tenant are owners of every project and need no row here.",
    )


def _projects_panel(request: HttpRequest, tenant: Tenant) -> list[Panel]:
    actor = actor_of(request)
    projects = Project.objects.visible_to(actor, "project:read").filter(tenant=tenant).order_by("slug")
    may_create = allows(actor, "project:create", tenant)
    rows = [
        Row(
            [
                link(page_url(project), project.slug),
                project.name,
                badge(project.tier, Tone.INFO),
                when(project.created_at),
            ]
        )
        for project in projects[:PROJECTS_SHOWN]
    ]
    if not rows and not may_create:
        return []
    return [
        Panel(
            "Projects",
            ("Project", "Name", "Tier", "Created"),
            rows,
            "No project yet: make the first one.",
            buttons=[Button("New project", add_url(Project, tenant), "primary")] if may_create else (),
        )
    ]


register_panels(_projects_panel)


# ---- members


def _roles(actor: Actor, project: Project) -> list[tuple[str, str]]:
    """The roles that `actor` may give: managers give those up to developer."""
    roles = list(ProjectRole)
    if not allows(actor, "project:change", project):
        roles = [role for role in roles if role not in (ProjectRole.OWNER, ProjectRole.MANAGER)]
    return [(role, role) for role in roles]


class MemberForm(OperationForm):
    """A person's role in the project."""

    title = "Role"
    role = forms.ChoiceField()

    def prepare(self) -> None:
        project = self.parent or self.instance.project
        self.fields["role"] = forms.ChoiceField(choices=_roles(self.actor, project))
        if self.instance is not None:
            self.initial.setdefault("role", self.instance.role)
        else:
            self.initial.setdefault("role", ProjectRole.DEVELOPER)

    def operate(self) -> ProjectMember:
        return operations.set_project_member(
            actor=self.actor,
            project=self.instance.project,
            user=self.instance.user,
            role=ProjectRole(self.cleaned_data["role"]),
        )


class NewMemberForm(MemberForm):
    """An operator joins the project."""

    title = "Add a member"
    submit_label = "Add"
    email = forms.EmailField(help_text="Of somebody who has an account here already.")
    field_order = ["email", "role"]

    def operate(self) -> ProjectMember:
        return operations.set_project_member(
            actor=self.actor,
            project=self.parent,
            user=operator_with(self.cleaned_data["email"]),
            role=ProjectRole(self.cleaned_data["role"]),
        )


def _remove(actor: Actor, member: ProjectMember) -> str:
    operations.remove_project_member(actor=actor, project=member.project, user=member.user)
    return f"{member.user.email} has no role in {member.project} any more."


@admin.register(ProjectMember)
class ProjectMemberAdmin(OperationAdmin):
    read_permission = "member:read"
    add_form = NewMemberForm
    add_permission = "member:manage"
    parent_model = Project
    parent_permission = "project:read"
    change_form = MemberForm
    change_permission = "member:manage"
    acts = {
        "remove": Act(
            "Remove",
            "member:manage",
            _remove,
            lambda actor, member: [
                f"{member.user.email} loses the role {member.role} in {member.project}, and with it every "
                "extra grant there, at their next request.",
            ],
            tone="danger",
            returns=lambda member: page_url(member.project),
        )
    }

    list_display = ("user", "project", "role", "ends_at")
    list_select_related = ("user", "project__tenant")
    list_filter = (values_filter("project__slug", "project", "project"), "role")
    search_fields = ("user__email", "user__name")
    ordering = ("project", "user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProjectMember]:
        return super().get_queryset(request).select_related("user", "project__tenant")

    def page(self, request: HttpRequest, member: ProjectMember) -> Page:
        return Page(
            title=member.user.email,
            crumbs=[(str(member.project), page_url(member.project))],
            badges=[badge(member.role, Tone.INFO)],
            buttons=self.buttons(request, member),
            facts=[
                ("Name", member.user.name),
                ("Since", when(member.created_at)),
                ("Until", when(member.ends_at, never="no end")),
            ],
        )

    def form_for(self, request: HttpRequest, obj: ProjectMember) -> type[OperationForm] | None:
        # Nobody changes their own role; a form would only promise it.
        return None if obj.user_id == actor_of(request).user_id else super().form_for(request, obj)

    def made(self, request: HttpRequest, form: OperationForm, made: Any) -> HttpResponseBase:
        messages.success(request, f"{made.user.email} is {made.role} in {made.project}.")
        return redirect(page_url(made.project))

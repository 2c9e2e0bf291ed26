"""Tenants, their members, and people in the console."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from apps.core.access import TenantRole, allows, allows_here
from apps.core.admin import OperationAdmin, actor_of, add_url, list_url, page_url, values_filter
from apps.core.forms import OperationForm
from apps.core.pages import Button, Page, Panel, Row, Tone, badge, code, link, when
from apps.tenancy import operations
from apps.tenancy.models import Tenant, TenantMember, User
from apps.tenancy.pages import tenant_panels

MEMBERS_SHOWN = 500
_ROLES = [(role, role) for role in TenantRole]


class NewTenantForm(OperationForm):
    """A new tenant with its first owner."""

    title = "New tenant"
    slug = forms.CharField(
        max_length=63, help_text="Lower-case letters, digits and -; it stands in addresses and never changes."
    )
    name = forms.CharField(max_length=150, required=False, help_text="For people; by default the slug.")
    owner = forms.EmailField(help_text="The first owner: an operator who has an account here.")

    def operate(self) -> Tenant:
        given = self.cleaned_data
        return operations.create_tenant(
            actor=self.actor,
            slug=given["slug"],
            name=given["name"],
            owner=operations.operator_with(given["owner"]),
        )


class TenantForm(OperationForm):
    """A tenant's name."""

    title = "Settings"
    name = forms.CharField(max_length=150)

    def prepare(self) -> None:
        self.initial.setdefault("name", self.instance.name)

    def operate(self) -> Tenant:
        return operations.change_tenant(
            actor=self.actor, tenant=self.instance, name=self.cleaned_data["name"]
        )


@admin.register(Tenant)
class TenantAdmin(OperationAdmin):
    read_permission = "tenant:read"
    add_form = NewTenantForm
    add_permission = "tenant:create"
    change_form = TenantForm
    change_permission = "tenant:change"

    list_display = ("slug", "name", "suspended_at", "created_at")
    search_fields = ("slug", "name")
    ordering = ("slug",)

    def page(self, request: HttpRequest, tenant: Tenant) -> Page:
        actor = actor_of(request)
        changing = request.GET.get("section") == "settings"
        buttons = []
        if allows(actor, "tenant:change", tenant):
            buttons.append(
                Button("Back to the tenant", page_url(tenant))
                if changing
                else Button("Settings", page_url(tenant) + "?section=settings")
            )
        marks = [badge("suspended", Tone.DANGER)] if tenant.suspended_at else []
        panels = [] if changing else [*tenant_panels(request, tenant), *_members_panels(request, tenant)]
        return Page(
            title=tenant.name,
            kicker="Tenant",
            badges=marks,
            buttons=buttons,
            facts=[("Address", code(tenant.slug)), ("Created", when(tenant.created_at))],
            panels=panels,
        )

    def form_for(self, request: HttpRequest, obj: Tenant) -> type[OperationForm] | None:
        return super().form_for(request, obj) if request.GET.get("section") == "settings" else None

    def made(self, request: HttpRequest, form: OperationForm, made: Tenant) -> HttpResponseBase:
        messages.success(request, f"The tenant {made.slug} is saved.")
        # A superuser makes tenants and sees none of them.
        visible = self.get_queryset(request).filter(pk=made.pk).exists()
        return redirect(page_url(made) if visible else list_url(Tenant))


def _members_panels(request: HttpRequest, tenant: Tenant) -> list[Panel]:
    """Who belongs to the tenant: for those who manage it."""
    if not allows(actor_of(request), "tenant:manage_members", tenant):
        return []
    members = tenant.members.select_related("user").order_by("user__email")[:MEMBERS_SHOWN]
    rows = [
        Row(
            [
                link(page_url(member), member.user.email),
                member.user.name or "–",
                badge(member.role),
                when(member.created_at),
                when(member.ends_at, never="–"),
            ]
        )
        for member in members
    ]
    return [
        Panel(
            "People",
            ("Person", "Name", "Role", "Since", "Until"),
            rows,
            buttons=[Button("Add a person", add_url(TenantMember, tenant), "primary")],
            note="Owners own every project; finance sees usage and invoices alone; members see the projects "
            "that they have a role in.",
        )
    ]


class TenantMemberForm(OperationForm):
    """A person's role in the tenant."""

    title = "Role"
    role = forms.ChoiceField(choices=_ROLES, initial=TenantRole.MEMBER)

    def prepare(self) -> None:
        if self.instance is not None:
            self.initial.setdefault("role", self.instance.role)

    def operate(self) -> TenantMember:
        return operations.set_tenant_member(
            actor=self.actor,
            tenant=self.instance.tenant,
            user=self.instance.user,
            role=TenantRole(self.cleaned_data["role"]),
        )


class NewTenantMemberForm(TenantMemberForm):
    """An operator joins the tenant."""

    title = "Add a person"
    submit_label = "Add"
    email = forms.EmailField(help_text="Of somebody who has an account here already.")
    field_order = ["email", "role"]

    def operate(self) -> TenantMember:
        return operations.set_tenant_member(
            actor=self.actor,
            tenant=self.parent,
            user=operations.operator_with(self.cleaned_data["email"]),
            role=TenantRole(self.cleaned_data["role"]),
        )


@admin.register(TenantMember)
class TenantMemberAdmin(OperationAdmin):
    read_permission = "tenant:manage_members"
    add_form = NewTenantMemberForm
    add_permission = "tenant:manage_members"
    parent_model = Tenant
    parent_permission = "tenant:read"
    change_form = TenantMemberForm
    change_permission = "tenant:manage_members"

    list_display = ("user", "tenant", "role", "ends_at")
    list_select_related = ("user", "tenant")
    list_filter = (values_filter("tenant__slug", "tenant", "tenant"), "role")
    search_fields = ("user__email", "user__name")
    ordering = ("tenant", "user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TenantMember]:
        return super().get_queryset(request).select_related("user", "tenant")

    def page(self, request: HttpRequest, member: TenantMember) -> Page:
        return Page(
            title=member.user.email,
            crumbs=[(member.tenant.slug, page_url(member.tenant))],
            badges=[badge(member.role, Tone.INFO)],
            facts=[
                ("Name", member.user.name),
                ("Since", when(member.created_at)),
                ("Until", when(member.ends_at, never="no end")),
            ],
        )

    def form_for(self, request: HttpRequest, obj: TenantMember) -> type[OperationForm] | None:
        return None if obj.user_id == actor_of(request).user_id else super().form_for(request, obj)

    def made(self, request: HttpRequest, form: OperationForm, made: TenantMember) -> HttpResponseBase:
        messages.success(request, f"{made.user.email} is {made.role} in {made.tenant.slug}.")
        return redirect(page_url(made.tenant))


# ---- people, for superusers


class NewOperatorForm(OperationForm):
    """A new person, with a password that is shown once."""

    title = "New operator"
    submit_label = "Make the account"
    needs_presence = True
    email = forms.EmailField()
    name = forms.CharField(max_length=150, required=False)
    superuser = forms.BooleanField(
        required=False, help_text="Manages accounts and tenants; sees nothing of a tenant's content."
    )

    def operate(self) -> tuple[User, str]:
        return operations.create_operator(actor=self.actor, **self.cleaned_data)


@admin.register(User)
class UserAdmin(OperationAdmin):
    """Accounts. What a person may do follows from memberships, which are not listed here."""

    add_form = NewOperatorForm
    add_permission = "account:manage"

    list_display = ("email", "name", "is_active", "is_superuser", "last_login", "created_at")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        people = User.objects.all()
        return people if allows_here(actor_of(request), "account:manage") else people.none()

    def page(self, request: HttpRequest, user: User) -> Page:
        marks = [badge("active", Tone.GOOD) if user.is_active else badge("deactivated", Tone.WARNING)]
        if user.is_superuser:
            marks.append(badge("superuser", Tone.INFO))
        return Page(
            title=user.email,
            kicker="Operator",
            badges=marks,
            facts=[
                ("Name", user.name),
                ("Created", when(user.created_at)),
                ("Last log-in", when(user.last_login)),
                ("New password due", "yes" if user.must_change_password else "no"),
            ],
        )

    def made(self, request: HttpRequest, form: OperationForm, made: Any) -> HttpResponseBase:
        """Show the password in this very answer: it is kept nowhere, so there is no page to go to."""
        user, password = made
        context = {
            **self.admin_site.each_context(request),
            "title": f"The account of {user.email}",
            "opts": self.opts,
            "person": user,
            "text": password,
            "back": list_url(User),
        }
        return TemplateResponse(request, "console/account_made.html", context)

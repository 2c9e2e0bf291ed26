"""The console's base: a door like any other. It writes nothing that no operation writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from apps.core.access import ScopedQuerySet, allows, allows_here, is_present, permitted
from apps.core.actor import Actor
from apps.core.errors import (
    Conflict,
    InvalidInput,
    MalformedRequest,
    NotPermitted,
    ReauthenticationRequired,
    VersionConflict,
)
from apps.core.forms import OperationForm
from apps.core.pages import Button, Page, when

# Rows of a list page; with more, unfold's markup of a page passes 250 KB.
ROWS_A_PAGE = 30


def actor_of(request: HttpRequest) -> Actor:
    """Who `request` acts as; the console's site put it there."""
    actor = getattr(request, "actor", None)
    if not isinstance(actor, Actor):
        raise PermissionDenied
    return actor


def page_url(obj: models.Model) -> str:
    """The page of a row in the console."""
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=(obj.pk,))


def list_url(model: type[models.Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def add_url(model: type[models.Model], parent: models.Model, **initial: str) -> str:
    """Where a row of `model` is made inside `parent`."""
    query = urlencode({str(parent._meta.model_name): str(parent.pk), **initial})
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add") + "?" + query


def stand_in(request: HttpRequest, service: models.Model) -> None:
    """Tell the sidebar which service this page belongs to."""
    request.console_service = service  # type: ignore[attr-defined]


def act_url(obj: models.Model, name: str) -> str:
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_act", args=(obj.pk, name))


def presence_redirect(to: str) -> HttpResponse:
    """Ask for a proof of presence, then go on to `to` (a page, never a POST again)."""
    return redirect(reverse("admin:presence") + "?" + urlencode({"next": to}))


@dataclass(frozen=True, slots=True)
class Act:
    """An operation on one row that takes nothing more: a page that explains, and a POST that does.

    `run(actor, row)` returns the sentence to show, or an answer of its own. `explain` gives
    sentences that say what will happen. `returns` tells where to go after it; by default the page
    of the row, for one that is gone the list.
    """

    label: str
    permission: str
    run: Callable[[Actor, Any], str | HttpResponse]
    explain: Callable[[Actor, Any], Sequence[str]]
    tone: str = "default"
    offered: Callable[[Any], bool] = lambda row: True
    returns: Callable[[Any], str] | None = None
    # Without a page that explains: for what changes nothing that one could regret.
    at_once: bool = False


class VisibleValuesFilter(admin.SimpleListFilter):
    """A filter whose choices come from visible rows alone. `lookup` is the path of the column."""

    lookup = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = model_admin.get_queryset(request).order_by().values_list(self.lookup, flat=True)
        return [(str(value), str(value)) for value in sorted(set(rows.distinct()[:200]))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.lookup: self.value()}) if self.value() else queryset


def values_filter(lookup: str, title: str, parameter: str) -> type[VisibleValuesFilter]:
    return type(
        f"{parameter.title()}Filter",
        (VisibleValuesFilter,),
        {"lookup": lookup, "title": title, "parameter_name": parameter},
    )


class OperationAdmin(ModelAdmin):  # type: ignore[misc] # unfold has no types
    """Shows what `visible_to` gives, and writes by operations alone.

    Every hook by which Django would write on its own refuses. A subclass names `read_permission`,
    and wires in: `add_form` with `parent_model` and `add_permission`; `change_form` with
    `change_permission`; `acts`, by the name in their address.
    """

    read_permission = ""
    add_form: ClassVar[type[OperationForm] | None] = None
    add_permission = ""
    parent_model: ClassVar[type[models.Model] | None] = None
    parent_permission = ""
    change_form: ClassVar[type[OperationForm] | None] = None
    change_permission = ""
    acts: ClassVar[Mapping[str, Act]] = {}

    actions = None
    show_full_result_count = False
    list_per_page = ROWS_A_PAGE
    list_max_show_all = ROWS_A_PAGE
    list_fullwidth = True

    # ---- what is seen

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        if not isinstance(queryset, ScopedQuerySet) or not self.read_permission:
            return cast(QuerySet[Any], queryset.none())
        return queryset.visible_to(actor_of(request), self.read_permission)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(getattr(request.user, "is_active", False))

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        if obj is None:
            return self.has_module_permission(request)
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether a list offers "add": what is made inside something else is made from its page."""
        if self.add_form is None or self.parent_model is not None:
            return False
        return allows_here(actor_of(request), self.add_permission)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the list offers as filters: a lookup could probe a column bit by bit.

        Of a column that is offered, what Django's own filters ask: an expression of a stranger's
        (`__regex`, `__range`) fails in the database or keeps it busy.
        """
        offered = [each for each in self.get_list_filter(request) if isinstance(each, str)]
        own = [getattr(each, "parameter_name", None) for each in self.get_list_filter(request)]
        asked = {name for each in offered for name in (each, f"{each}__exact", f"{each}__isnull")}
        return lookup in own or lookup in asked

    def visible(self, request: HttpRequest, object_id: str) -> Any:
        """The row, if it exists for this person. Raises Http404 alike for all others."""
        try:
            found = self.get_queryset(request).filter(pk=UUID(str(object_id))).first()
        except ValueError:
            found = None
        if found is None:
            raise Http404
        return found

    # ---- what Django would write on its own

    def save_model(self, request: HttpRequest, obj: models.Model, form: Any, change: bool) -> None:
        raise PermissionDenied

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        raise PermissionDenied

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        raise PermissionDenied

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        raise PermissionDenied

    # ---- pages

    def get_urls(self) -> list[URLPattern]:
        act = path(
            "<uuid:object_id>/act/<slug:name>/",
            self.admin_site.admin_view(self.act_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_act",
        )
        return [act, *super().get_urls()]

    def page(self, request: HttpRequest, obj: Any) -> Page:
        """What stands on the page of `obj`. Subclasses add to it."""
        return Page(title=str(obj), kicker=str(self.opts.verbose_name), buttons=self.buttons(request, obj))

    def buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        """The acts that `obj` offers to this person."""
        offered = {name: act for name, act in self.acts.items() if act.offered(obj)}
        held = permitted(actor_of(request), {act.permission for act in offered.values()}, obj)
        return [
            Button(act.label, act_url(obj, name), act.tone, posts=act.at_once)
            for name, act in offered.items()
            if act.permission in held
        ]

    def render(
        self, request: HttpRequest, page: Page, *, form: OperationForm | None = None, status: int = 200
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": page.title,
            "opts": self.opts,
            "page": page,
            "form": form,
            "media": self.media + (form.media if form else forms.Media()),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "console/page.html", context, status=status)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if self.add_form is None:
            raise PermissionDenied
        actor, parent = actor_of(request), self._parent(request)
        if isinstance(parent, HttpResponse):
            return parent
        may = allows(actor, self.add_permission, parent) if parent else self.has_add_permission(request)
        if not may:
            raise NotPermitted(permission=self.add_permission, target=parent)
        if self.add_form.needs_presence and not is_present(actor):
            return presence_redirect(request.get_full_path())
        initial = {name: request.GET[name] for name in self.add_form.base_fields if name in request.GET}
        form = self._form(self.add_form, request, parent=parent, initial=initial)
        answer = self._submitted(request, form)
        if answer is not None:
            return answer
        return self.render(request, self.add_page(request, form), form=form, status=_status(form))

    def add_page(self, request: HttpRequest, form: OperationForm) -> Page:
        return Page(
            title=form.title or f"New {self.opts.verbose_name}",
            kicker=str(form.parent or ""),
            crumbs=[(str(form.parent), page_url(form.parent))] if form.parent else [],
        )

    def _parent(self, request: HttpRequest) -> models.Model | HttpResponse | None:
        """What the new row will stand in, named by the query; without one, the way to choose."""
        if self.parent_model is None:
            return None
        name = str(self.parent_model._meta.model_name)
        if name not in request.GET:
            messages.info(request, f"Choose the {name} first; new ones are made on its page.")
            return redirect(list_url(self.parent_model))
        parents = cast(ScopedQuerySet[models.Model], cast(Any, self.parent_model).objects.all())
        try:
            found = (
                parents.visible_to(actor_of(request), self.parent_permission)
                .filter(pk=UUID(request.GET[name]))
                .first()
            )
        except ValueError:
            found = None
        if found is None:
            raise Http404
        return found

    def _form(self, kind: type[OperationForm], request: HttpRequest, **options: Any) -> OperationForm:
        data = (request.POST, request.FILES) if request.method == "POST" else ()
        return kind(*data, actor=actor_of(request), **options)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        obj = self.visible(request, object_id)
        kind = self.form_for(request, obj)
        form = self._form(kind, request, instance=obj) if kind else None
        if request.method == "POST":
            if form is None:
                raise NotPermitted(permission=self.change_permission or self.read_permission, target=obj)
            answer = self._submitted(request, form)
            if answer is not None:
                return answer
        return self.render(request, self.page(request, obj), form=form, status=_status(form))

    def form_for(self, request: HttpRequest, obj: Any) -> type[OperationForm] | None:
        """The form on the page of `obj`, for those who may change it."""
        may = self.change_form is not None and allows(actor_of(request), self.change_permission, obj)
        return self.change_form if may else None

    def _submitted(self, request: HttpRequest, form: OperationForm) -> HttpResponseBase | None:
        """Run the form's operation; None while there is something to mend or nothing was sent."""
        if not form.is_bound or not form.is_valid():
            return None
        try:
            made = form.operate()
        except InvalidInput as refusal:
            form.add_refusal(refusal)
            return None
        except VersionConflict as refusal:
            stale = "Somebody changed this while the page was open. Open it anew and decide again."
            form.add_error(None, stale if form.instance else refusal.detail)
            return None
        except (Conflict, ReauthenticationRequired, MalformedRequest) as refusal:
            form.add_error(None, refusal.detail)
            return None
        return self.made(request, form, made)

    def made(self, request: HttpRequest, form: OperationForm, made: Any) -> HttpResponseBase:
        """Where to go once the operation is done."""
        messages.success(request, f"{str(self.opts.verbose_name).capitalize()} {made} is saved.")
        return redirect(page_url(made))

    def act_view(self, request: HttpRequest, object_id: UUID, name: str) -> HttpResponseBase:
        obj = self.visible(request, str(object_id))
        act = self.acts.get(name)
        if act is None:
            raise Http404
        actor = actor_of(request)
        if not allows(actor, act.permission, obj):
            raise NotPermitted(permission=act.permission, target=obj)
        refusal = ""
        if request.method == "POST":
            try:
                answer = act.run(actor, obj)
            except ReauthenticationRequired:
                return presence_redirect(page_url(obj))
            except (Conflict, VersionConflict, InvalidInput) as error:
                refusal = error.detail
            else:
                if not isinstance(answer, str):
                    return answer
                messages.success(request, answer)
                return redirect(act.returns(obj) if act.returns else self._after(request, obj))
        elif act.at_once:
            return redirect(page_url(obj))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{act.label}: {obj}",
            "opts": self.opts,
            "act": act,
            "row": obj,
            "sentences": act.explain(actor, obj),
            "refusal": refusal,
            "back": page_url(obj),
        }
        return TemplateResponse(request, "console/act.html", context, status=409 if refusal else 200)

    def _after(self, request: HttpRequest, obj: models.Model) -> str:
        still = self.get_queryset(request).filter(pk=obj.pk).exists()
        return page_url(obj) if still else list_url(self.model)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponseBase:
        """Django's address of a deletion; the act of that name is the only one there is."""
        obj = self.visible(request, object_id)
        if "delete" not in self.acts:
            raise NotPermitted(permission=self.change_permission or self.read_permission, target=obj)
        return self.act_view(request, obj.pk, "delete")

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponseBase:
        """Django's own history is written by nobody here; the audit log tells what happened."""
        obj = self.visible(request, object_id)
        return redirect(
            reverse("admin:audit_auditevent_changelist") + "?" + urlencode({"object": str(obj.pk)})
        )


def _status(form: OperationForm | None) -> int:
    return 422 if form is not None and form.is_bound and not form.is_valid() else 200


def created_facts(obj: Any) -> list[tuple[str, Any]]:
    return [("Created", when(obj.created_at)), ("Changed", when(obj.updated_at))]

"""Forms as unfold draws them: what the console may come to use must work under its policy too.

The console's own pages write by operations and so far use none of this.
"""

from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.admin import ModelAdmin, StackedInline, TabularInline
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminPasswordToggleWidget

from apps.flags.models import Flag
from apps.services.models import ApiKey, Service
from apps.tenancy.models import User


class StockSite(UnfoldAdminSite):
    settings_name = "UNFOLD_STOCK"

    def has_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, User) and request.user.is_active


class Anything:
    def _may(self, *given: Any, **named: Any) -> bool:
        return True

    has_module_permission = has_view_permission = has_add_permission = _may
    has_change_permission = has_delete_permission = _may


class FlagForm(forms.ModelForm):  # type: ignore[type-arg]
    passphrase = forms.CharField(required=False, widget=UnfoldAdminPasswordToggleWidget())

    class Meta:
        model = Flag
        fields = ("service", "key", "enabled", "starts_at", "ends_at", "type", "definition")


class FlagAdmin(Anything, ModelAdmin):
    form = FlagForm
    autocomplete_fields = ("service",)
    conditional_fields = {"ends_at": "enabled == true", "key": "service"}
    list_display = ("key", "service", "enabled")
    list_filter = ("enabled", "type")
    list_filter_submit = True
    list_filter_sheet = True
    search_fields = ("key",)
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("service", "key", "enabled", "passphrase")}),
        ("When", {"fields": ("starts_at", "ends_at"), "classes": ["tab"]}),
        ("What", {"fields": ("type", "definition"), "classes": ["tab"]}),
    )


class KeyInline(Anything, TabularInline):
    model = ApiKey
    fields = ("slot", "expires_at")
    extra = 1
    tab = True


class ChildInline(Anything, StackedInline):
    model = Service
    fields = ("slug", "name")
    extra = 0
    tab = True
    verbose_name_plural = "children"


class ServiceAdmin(Anything, ModelAdmin):
    inlines = (KeyInline, ChildInline)
    search_fields = ("slug",)
    list_display = ("slug", "kind")
    actions_list: Any = []


stock = StockSite(name="stock")
stock.register(Flag, FlagAdmin)
stock.register(Service, ServiceAdmin)

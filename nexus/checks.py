"""Laws that Django checks at each start."""

from typing import Any

from django.contrib import admin
from django.core.checks import CheckMessage, Error, register

from apps.core.admin import OperationAdmin


@register()
def every_admin_is_an_operation_admin(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """A plain ModelAdmin would write past operations and show past `visible_to`."""
    return [
        Error(
            f"{type(model_admin).__name__} of {model.__name__} is not an OperationAdmin.",
            hint="Derive it from apps.core.admin.OperationAdmin.",
            id="nexus.E001",
        )
        for model, model_admin in admin.site._registry.items()
        if not isinstance(model_admin, OperationAdmin)
    ]

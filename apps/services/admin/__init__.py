"""Services and their keys in the console."""

from apps.services.admin.keys import ApiKeyAdmin
from apps.services.admin.services import ServiceAdmin

__all__ = ["ApiKeyAdmin", "ServiceAdmin"]

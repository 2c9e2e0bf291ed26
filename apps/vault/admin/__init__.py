"""Secrets and configs in the console."""

from apps.vault.admin.configs import ConfigAdmin
from apps.vault.admin.secrets import SecretAdmin

__all__ = ["ConfigAdmin", "SecretAdmin"]

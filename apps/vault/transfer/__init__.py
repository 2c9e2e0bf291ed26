"""Carry entries in, out and across: import, export, compare, promote (SPEC 10)."""

from apps.vault.transfer.changes import Change
from apps.vault.transfer.effective import EffectiveConfig, effective_configs
from apps.vault.transfer.files import export_entries, import_entries, plan_import
from apps.vault.transfer.services import compare_services, promote

__all__ = [
    "Change",
    "EffectiveConfig",
    "compare_services",
    "effective_configs",
    "export_entries",
    "import_entries",
    "plan_import",
    "promote",
]

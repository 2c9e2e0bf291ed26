"""The console: its look, and what a browser may load for it."""

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Nexus",
    "SITE_HEADER": "Nexus",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
}

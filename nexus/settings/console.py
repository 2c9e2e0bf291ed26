"""The console: its look, and what a browser may load for it."""

from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from django.http import HttpRequest
from django.templatetags.static import static

# For every answer of Django (docs/decisions/0006). No script but files of ours, and nothing is
# evaluated. A style element needs the nonce of its answer; attributes are free, because unfold,
# SimpleBar and Swagger UI write them, and an attribute reaches one element only.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "style-src-elem": [SELF, NONCE],
        "style-src-attr": [UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}


def _mark(request: HttpRequest) -> str:
    return static("nexus/mark.svg")


def _console_style(request: HttpRequest) -> str:
    return static("nexus/console.css")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Nexus",
    "SITE_HEADER": "Nexus",
    "SITE_SYMBOL": "hub",
    "SITE_ICON": _mark,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _mark}],
    "SITE_URL": None,
    "SIDEBAR": {"show_search": False, "navigation": "nexus.console.navigation.navigation"},
    "STYLES": [_console_style],
    "ENVIRONMENT": "nexus.console.navigation.installation_badge",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # Teal. unfold sets white on 600 and 600 on white (5.5 : 1), and 500 on dark (7 : 1): all
        # above the 4.5 : 1 of WCAG AA, which Tailwind's own teal 600 misses.
        "primary": {
            "50": "#f0fdfa",
            "100": "#ccfbf1",
            "200": "#99f6e4",
            "300": "#5eead4",
            "400": "#2dd4bf",
            "500": "#14b8a6",
            "600": "#0f766e",
            "700": "#115e59",
            "800": "#134e4a",
            "900": "#103f3c",
            "950": "#042f2e",
        },
    },
}

"""The settings of the suite for a server of its own, with pages of stock unfold beside the console."""

from nexus.settings.test import *  # noqa: F403
from nexus.settings.test import NEXUS_BIND

NEXUS_PUBLIC_URL = f"http://{NEXUS_BIND}"
CSRF_TRUSTED_ORIGINS = [NEXUS_PUBLIC_URL]
# As in production: each file is read once, at the start.
WHITENOISE_AUTOREFRESH = False
ROOT_URLCONF = "tests.browser.urls"

# The console has no search in its sidebar; that of unfold must run under the policy all the same.
UNFOLD_STOCK = {"SIDEBAR": {"show_search": True}, "COMMAND": {"show_history": True}}

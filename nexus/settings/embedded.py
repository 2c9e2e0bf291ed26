"""One machine, no server beside it: SQLite, an embedded broker, no Redis. What `make run` starts."""

from nexus.settings.common import *  # noqa: F403
from nexus.settings.common import LOGGING, NEXUS_BIND, NEXUS_ROOT_KEY, NEXUS_ROOT_KEY_FILE, NEXUS_VAR, env
from nexus.settings.databases import databases
from nexus.settings.login import caches

NEXUS_ENV = "embedded"
NEXUS_PUBLIC_URL = (env.str("NEXUS_PUBLIC_URL", default="") or f"http://{NEXUS_BIND}").rstrip("/")

DATABASE_URL = env.str("DATABASE_URL", default="") or f"sqlite:///{NEXUS_VAR / 'nexus.sqlite3'}"
DATABASES = databases(DATABASE_URL)

# `up` makes both files; commands beside it read them.
if not NEXUS_ROOT_KEY and not NEXUS_ROOT_KEY_FILE and (NEXUS_VAR / "root.key").is_file():
    NEXUS_ROOT_KEY_FILE = str(NEXUS_VAR / "root.key")
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY and (NEXUS_VAR / "secret.key").is_file():
    SECRET_KEY = (NEXUS_VAR / "secret.key").read_text(encoding="ascii").strip()
# Commands that run before the first `up` sign nothing that outlives them.
if not SECRET_KEY:
    from secrets import token_urlsafe

    SECRET_KEY = token_urlsafe(48)

# On one's own machine a second factor is a choice.
NEXUS_REQUIRE_MFA = env.bool("NEXUS_REQUIRE_MFA", default=False)
# One process serves the console.
CACHES = caches("")

_host = NEXUS_PUBLIC_URL.split("://", 1)[1].split("/", 1)[0].rsplit(":", 1)[0]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=sorted({_host, "localhost", "127.0.0.1", "[::1]"}))
CSRF_TRUSTED_ORIGINS = [NEXUS_PUBLIC_URL]

# Plain http on this machine only: cookies marked secure would never come back.
_https = NEXUS_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _https else 0

# Static files are served from where they are; nothing has to be collected first.
STATIC_ROOT = None
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# What would be mailed is printed, unless there is a server for it.
if not env.str("EMAIL_URL", default=""):
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

_broker = NEXUS_VAR / "broker"
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(_broker / "messages"),
    "data_folder_out": str(_broker / "messages"),
    "control_folder": str(_broker / "control"),
    "store_processed": False,
}
# The broker is a folder; kombu warns at each connection that it has no host.
LOGGING["loggers"]["kombu.connection"] = {"level": "ERROR"}

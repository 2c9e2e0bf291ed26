"""The test suite: the production code on whatever database the run was given."""

import os
from pathlib import Path

from nexus.settings.common import *  # noqa: F403
from nexus.settings.common import env
from nexus.settings.databases import databases
from nexus.settings.login import caches

NEXUS_ENV = "test"
NEXUS_VAR = Path(env.str("NEXUS_VAR", default="var-test")).resolve()
NEXUS_PUBLIC_URL = "http://testserver"
# One value for this process and for the servers that tests start from it; worth nothing elsewhere.
SECRET_KEY = os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "0" * 40)
NEXUS_ROOT_KEY = os.environ.setdefault("NEXUS_ROOT_KEY", "dGVzdC10ZXN0LXRlc3QtdGVzdC10ZXN0LXRlc3QtMDE")
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]

DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{NEXUS_VAR / 'test.sqlite3'}")
DATABASES = databases(DATABASE_URL)
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Threads of a test share a file; an in-memory database would be one connection's alone.
    _test_file = DATABASES["default"]["NAME"] + "-" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    DATABASES["default"]["TEST"] = {"NAME": _test_file}

NEXUS_REQUIRE_MFA = False
# Of this process, so that suites beside each other do not count each other's failures.
CACHES = caches("")

SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False
SECURE_HSTS_SECONDS = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STATIC_ROOT = None
WHITENOISE_USE_FINDERS = True
# Files are looked for when asked for: each client of a test would read all of them at its start.
WHITENOISE_AUTOREFRESH = True
CELERY_BROKER_URL = "memory://"
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

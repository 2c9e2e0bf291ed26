"""What every environment shares. Nothing insecure is a default: `base` refuses what is missing."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ

from nexus.environment import var_directory
from nexus.settings.console import *  # noqa: F403
from nexus.settings.databases import databases
from nexus.settings.login import *  # noqa: F403
from nexus.settings.login import caches

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent.parent
NEXUS_VAR = var_directory()

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")

NEXUS_BIND = env.str("NEXUS_BIND", default="127.0.0.1:8000")
NEXUS_PUBLIC_URL = env.str("NEXUS_PUBLIC_URL", default="").rstrip("/")
NEXUS_TRUSTED_PROXIES = env.list("NEXUS_TRUSTED_PROXIES", default=[])
NEXUS_STALE_SECONDS = env.int("NEXUS_STALE_SECONDS", default=300)
NEXUS_SELF_SERVICE_TIERS = env.bool("NEXUS_SELF_SERVICE_TIERS", default=True)
NEXUS_REQUIRE_MFA = env.bool("NEXUS_REQUIRE_MFA", default=True)

# Root keys wrap all other keys. A file keeps them out of process listings and crash dumps.
NEXUS_ROOT_KEY = env.str("NEXUS_ROOT_KEY", default="")
NEXUS_ROOT_KEY_FILE = env.str("NEXUS_ROOT_KEY_FILE", default="")
# Another endpoint of AWS KMS, such as a VPC's; for root keys of the form aws-kms:….
NEXUS_AWS_KMS_URL = env.str("NEXUS_AWS_KMS_URL", default="")
# A data key is replaced after so many seals; more than the 2^31 of SPEC 5 are never made.
NEXUS_DATA_KEY_MAX_USES = env.int("NEXUS_DATA_KEY_MAX_USES", default=2**31)

# Bounds of delivery. 64 MiB hold some 8,000 snapshots of 8 KB in each process.
NEXUS_SNAPSHOT_CACHE_BYTES = env.int("NEXUS_SNAPSHOT_CACHE_BYTES", default=64 * 1024 * 1024)
NEXUS_SNAPSHOT_MAX_BYTES = env.int("NEXUS_SNAPSHOT_MAX_BYTES", default=8 * 1024 * 1024)
NEXUS_POLL_SECONDS = env.float("NEXUS_POLL_SECONDS", default=1.0)
NEXUS_VERSIONS_KEPT = env.int("NEXUS_VERSIONS_KEPT", default=100)

ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
if not ALLOWED_HOSTS and "://" in NEXUS_PUBLIC_URL:
    ALLOWED_HOSTS = [NEXUS_PUBLIC_URL.split("://", 1)[1].split("/", 1)[0].rsplit(":", 1)[0]]
CSRF_TRUSTED_ORIGINS = [NEXUS_PUBLIC_URL] if NEXUS_PUBLIC_URL else []

DATABASE_URL = env.str("DATABASE_URL", default="")
DATABASES: dict[str, dict[str, Any]] = databases(DATABASE_URL) if DATABASE_URL else {}
REDIS_URL = env.str("REDIS_URL", default="")
CACHES = caches(REDIS_URL)

INSTALLED_APPS = [
    "apps.core",
    "apps.audit",
    "apps.tenancy",
    "apps.projects",
    "apps.services",
    "apps.flags",
    "apps.vault",
    "nexus",
    "guardian",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    # The basic one: the default would put its own site in place of ours.
    "unfold.apps.BasicAppConfig",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "nexus.apps.ConsoleConfig",
]

MIDDLEWARE = [
    "nexus.middleware.RequestContextMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "nexus.urls"
WSGI_APPLICATION = "nexus.wsgi.application"
ASGI_APPLICATION = "nexus.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_USER_MODEL = "tenancy.User"
# Passwords are checked and rights answered by ours alone: neither Django's backend nor allauth's is asked.
AUTHENTICATION_BACKENDS = ["apps.projects.backends.MembershipBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Guardian supplies the base of the grant models, nothing else: no anonymous row, no patched User.
ANONYMOUS_USER_NAME = None
SILENCED_SYSTEM_CHECKS = ["guardian.W001"]
GUARDIAN_MONKEY_PATCH_USER = False

SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = False  # The proxy that ends TLS redirects; probes come over plain http.
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# A secret of 64 KiB is some 88 KiB in base64; a megabyte leaves room for the largest flag definition.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# Mail (invitations, notices) goes out by the outbox: smtp+tls://user:password@host:587, or another
# URL of django-environ. It waits at most so long, well within the lease of a message.
_mail = env.email_url("EMAIL_URL", default="smtp://localhost:25")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"], _mail["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"], _mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_FILE_PATH = _mail["EMAIL_FILE_PATH"] or None
EMAIL_TIMEOUT = 10
_mail_host = (urlsplit(NEXUS_PUBLIC_URL).hostname if NEXUS_PUBLIC_URL else None) or "localhost"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"Nexus <nexus@{_mail_host}>")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

STATIC_URL = "/static/"
STATIC_ROOT: Path | None = NEXUS_VAR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Who comes to /api/v1/manage; the apps below may not import it.
NEXUS_MANAGE_AUTHENTICATION = "nexus.authentication.ManageAuthentication"
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["nexus.authentication.WorkloadAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.core.api.permissions.ActorRequired"],
    "DEFAULT_RENDERER_CLASSES": ["apps.core.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.api.parsers.StrictJSONParser"],
    "EXCEPTION_HANDLER": "apps.core.api.problems.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    # `format` is a parameter of ours (SPEC 8); the framework would pick a renderer by it.
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Nexus",
    "VERSION": "0.1.0",
    "DESCRIPTION": "Secrets, configs and feature flags of a service in one versioned snapshot.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # A PATCH is a shape of its own here, not a POST with everything optional.
    "COMPONENT_SPLIT_PATCH": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    # Fields of one name whose choices differ.
    "ENUM_NAME_OVERRIDES": {
        "ProjectRoleEnum": "apps.projects.api.serializers.ROLE_CHOICES",
        "TenantRoleEnum": "apps.projects.api.serializers.TENANT_ROLE_CHOICES",
        "ActorTypeEnum": "apps.audit.api.documents.ACTOR_TYPES",
        "ServiceKindEnum": "apps.services.models.Kind",
        # Three sorts of entry have a `type`, each with values of its own.
        "SecretTypeEnum": "apps.vault.models.SecretType",
        "ConfigTypeEnum": "apps.vault.models.ConfigType",
        "FlagTypeEnum": ["boolean", "string", "number", "json"],
        # A service has a kind, and an entry another sort of one.
        "EntryKindEnum": "apps.services.models.EntryKind",
        "ImportFormatEnum": ["dotenv", "json", "yaml"],
        "ExportFormatEnum": ["sh", "dotenv", "json", "yaml"],
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PREPROCESSING_HOOKS": ["nexus.schema.only_public_api"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "nexus.schema.add_delivery_paths",
        "nexus.schema.tell_what_all_share",
    ],
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(NEXUS_VAR / "beat-schedule")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("NEXUS_LOG_LEVEL", default="WARNING")},
    # Django's request logger names each 4xx; delivery and the audit log tell those better.
    "loggers": {"django.request": {"level": "ERROR"}},
}

"""Log-in to the console: e-mail and password, then a code where the person has a second factor."""

from typing import Any

from django.urls import reverse_lazy

from nexus.settings.console import UNFOLD

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = "account_login"

# allauth brings the steps of a log-in, its limits and the second factor; what it would send by mail,
# or let strangers do, has no address here (nexus/console/login.py).
ACCOUNT_ADAPTER = "nexus.console.login.LoginAdapter"
ACCOUNT_FORMS = {"login": "nexus.console.login.LoginForm"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
# Nobody signs up; the names say which fields the log-in has.
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_NOTIFICATIONS = False
# For as long as SESSION_COOKIE_AGE says, whether or not the browser was closed.
ACCOUNT_SESSION_REMEMBER = True
# Between password and code; an authenticator shows the next one after 30 s.
ACCOUNT_LOGIN_TIMEOUT = 5 * 60
# Failures count per address: whoever fails locks out nobody but their own address (SPEC 12). Codes
# count per account too, because that takes its password, or its session, first: a million codes
# tried from a thousand addresses would find one within hours.
ACCOUNT_RATE_LIMITS = {
    # All log-ins, good ones too: each costs a hash of 50 ms and 16 MiB.
    "login": "60/m/ip",
    "login_failed": "10/m/ip",
    "code_failed": "20/10m/key",
}

MFA_ADAPTER = "nexus.console.mfa.SealingAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
# Ten of 12 digits: 40 bits each, behind the limits above.
MFA_RECOVERY_CODE_COUNT = 10
MFA_RECOVERY_CODE_DIGITS = 12

UNFOLD["ACCOUNT"] = {
    "navigation": [
        {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        {"title": "Two-factor log-in", "link": reverse_lazy("admin:two_factor")},
        {"title": "Access tokens", "link": reverse_lazy("admin:access_tokens")},
    ]
}


def caches(redis_url: str) -> dict[str, dict[str, Any]]:
    """The one cache, which holds nothing but the counts of log-in limits.

    Processes share them by Redis; where there is only one process, its memory does. Without Redis
    nobody logs in, because nothing would bound guessing; workloads do not notice.
    """
    if redis_url:
        return {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis_url,
                "KEY_PREFIX": "nexus",
                "OPTIONS": {
                    # Not pickle, whose reader runs what it reads.
                    "serializer": "nexus.cache.JsonSerializer",
                    "socket_timeout": 3,
                    "socket_connect_timeout": 3,
                },
            }
        }
    return {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # The default of 300 could be filled from other addresses, which drops one's own count.
            "OPTIONS": {"MAX_ENTRIES": 50_000},
        }
    }

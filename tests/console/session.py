"""Sessions of the cast, begun as people begin them."""

import base64
import hashlib
import hmac
import re
import struct
import time

from django.test import Client

from apps.tenancy.models import User
from tests.conftest import Cast

PASSWORD = "correct horse battery staple"
LOG_IN = "/accounts/login/"
CODE = "/accounts/code/"
PRESENCE = "/admin/presence/"
SET_UP = "/admin/two-factor/set-up/"


def with_password(cast: Cast, name: str, password: str = PASSWORD) -> User:
    """The person of the cast, with a password that the test knows."""
    user = User.objects.get(pk=cast.users[name].pk)
    user.set_password(password)
    user.save()
    return user


def sign_in(user: User, *, password: str = PASSWORD, client: Client | None = None) -> Client:
    """Log in with the password, for somebody without a second factor."""
    client = client or Client()
    answer = client.post(LOG_IN, {"login": user.email, "password": password})
    assert answer.status_code == 302, answer.content.decode()
    return client


def signed_in(cast: Cast, name: str) -> Client:
    """A browser in which this person of the cast has just logged in, and so is present."""
    return sign_in(with_password(cast, name))


def absent(client: Client) -> Client:
    """The same session, without its proof of presence."""
    session = client.session
    session.pop("nexus_present_at", None)
    session.save()
    return client


def totp(secret: str, *, steps: int = 0) -> str:
    """The code of RFC 6238 with its defaults, worked out here and not by the code under test.

    One of the step before is still good for the rest of this one; at its very end that is too short.
    """
    if steps < 0 and time.time() % 30 > 28:
        time.sleep(2)
    counter = struct.pack(">Q", int(time.time()) // 30 + steps)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def set_up_second_factor(client: Client) -> tuple[str, list[str]]:
    """Walk through the set-up page; return the secret and the recovery codes that it showed."""
    page = client.get(SET_UP).content.decode()
    secret = found(r'id="totp-secret"[^>]*>([A-Z2-7]+)<', page)
    sealed = found(r'name="sealed" value="([^"]+)"', page)
    # The code of the step before: the one of now is left for what the test does next.
    answer = client.post(SET_UP, {"sealed": sealed, "code": totp(secret, steps=-1)})
    codes = re.findall(r"\d{4} \d{4} \d{4}", answer.content.decode())
    assert answer.status_code == 200
    assert len(codes) == 10
    return secret, codes


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} is not on the page"
    return match[1]

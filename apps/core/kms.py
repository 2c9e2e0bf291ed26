"""Who holds the root keys: this process, given them by environment or file, or AWS KMS.

A provider wraps and unwraps 32-byte keys and never tells its own. What a wrapped key is bound to,
the `context`, is additional data of the cipher here and the encryption context of AWS there: a
wrapped key moved to another row, project or purpose opens with neither.

boto3 is an extra (`pip install nexus[aws]`) and is imported when a root key names KMS.
"""

import base64
import binascii
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.core import crypto
from apps.core.crypto import DoesNotOpen
from apps.core.errors import NexusError

AWS_PREFIX = "aws-kms:"
# A start that cannot reach KMS says so after some ten seconds, and no request waits longer.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 5, 2

_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/[A-Za-z0-9:/_-]+\Z", re.ASCII)
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+\Z", re.ASCII)


class KmsUnavailable(NexusError):
    """The service that holds a root key does not answer, or refuses us."""

    code, status = "kms_unavailable", 503
    default_detail = "The service that holds the root key does not answer. Try again shortly."


class RootKeyProvider(ABC):
    """One root key, wherever it is. `id` names it in the rows that it wrapped."""

    id: str
    is_remote: bool = False

    @abstractmethod
    def wrap(self, secret: bytes, *, context: Mapping[str, str]) -> bytes:
        """Encrypt a key of 32 bytes for the row that `context` names. Raises KmsUnavailable."""

    @abstractmethod
    def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return what was wrapped. Raises DoesNotOpen when key, bytes or row differ, and KmsUnavailable."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


class LocalRootKey(RootKeyProvider):
    """A root key in this process's memory. Its id is the first 8 hex digits of its SHA-256 (SPEC 5)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = crypto.sha256(key).hex()[:8]

    def wrap(self, secret: bytes, *, context: Mapping[str, str]) -> bytes:
        return crypto.wrap(self._key, secret, bound_to=self._binding(context))

    def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        return crypto.unwrap(self._key, wrapped, bound_to=self._binding(context))

    def _binding(self, context: Mapping[str, str]) -> bytes:
        return crypto.length_prefixed("nexus.wrapped-key.1", self.id, *context.values())


class AwsKmsRootKey(RootKeyProvider):
    """A root key in AWS KMS, by the ARN of a symmetric key or by an alias.

    Its id is the first 8 hex digits of the SHA-256 of that text. An ARN also says to KMS which key
    must have wrapped what it opens; an alias cannot, because it may point to another key since.
    """

    is_remote = True

    def __init__(self, name: str) -> None:
        arn = _ARN.match(name)
        if arn is None and _ALIAS.match(name) is None:
            raise ValueError
        self.id = crypto.sha256(name.encode()).hex()[:8]
        self._name = name
        self._names_one_key = arn is not None and arn[2] == "key"
        self._client = _aws_client(arn[1] if arn else "", settings.NEXUS_AWS_KMS_URL)

    def wrap(self, secret: bytes, *, context: Mapping[str, str]) -> bytes:
        answer = self._ask("encrypt", KeyId=self._name, Plaintext=secret, context=context)
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, *, context: Mapping[str, str]) -> bytes:
        which = {"KeyId": self._name} if self._names_one_key else {}
        secret = bytes(self._ask("decrypt", CiphertextBlob=wrapped, context=context, **which)["Plaintext"])
        if len(secret) != crypto.KEY_BYTES:
            raise DoesNotOpen
        return secret

    def _ask(self, verb: str, *, context: Mapping[str, str], **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        # KMS takes no empty values; what is left out is as bound as what is there.
        bound = {"nexus:root_key": self.id} | {
            f"nexus:{name}": text for name, text in context.items() if text
        }
        try:
            return getattr(self._client, verb)(EncryptionContext=bound, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            # From None, here and below: a cause could carry what was sent.
            if code in ("InvalidCiphertextException", "IncorrectKeyException"):
                raise DoesNotOpen from None
            raise KmsUnavailable(
                f"AWS KMS refuses to {verb} under the root key {self.id} ({code}). "
                "Check the key's state and policy."
            ) from None
        except BotoCoreError as error:
            raise KmsUnavailable(
                f"AWS KMS, which holds the root key {self.id}, does not answer ({type(error).__name__}). "
                "Check network, region and credentials."
            ) from None


def _aws_client(region: str, url: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise ImproperlyConfigured(
            "A root key in NEXUS_ROOT_KEY is in AWS KMS, and boto3 is not installed. Install nexus[aws]."
        ) from None
    parts = urlsplit(url)
    if url and parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ImproperlyConfigured("NEXUS_AWS_KMS_URL is not https: keys would cross the network in clear.")
    # At DEBUG botocore logs each request and answer whole, plaintext keys among them.
    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return boto3.session.Session().client(
            "kms",
            region_name=region or None,
            endpoint_url=url or None,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ImproperlyConfigured(
            f"AWS KMS cannot be asked ({type(error).__name__}). An alias needs AWS_REGION; "
            "NEXUS_AWS_KMS_URL, where set, is an http address."
        ) from None


@lru_cache(maxsize=16)
def _aws_root_key(name: str, url: str) -> AwsKmsRootKey:
    """One client for each name: making it reads files and takes some 100 ms."""
    return AwsKmsRootKey(name)


def parse_root_keys(text: str) -> dict[str, RootKeyProvider]:
    """Root keys by id, the current one first, from comma-separated entries.

    An entry is base64url of 32 bytes, or `aws-kms:` and a key's ARN or alias. Raises
    ImproperlyConfigured with the number of one that is neither, never with its text.
    """
    found: dict[str, RootKeyProvider] = {}
    for number, part in enumerate(_entries(text), start=1):
        provider = _aws_entry(part, number) if part.startswith(AWS_PREFIX) else _local_entry(part, number)
        found.setdefault(provider.id, provider)
    return found


def _entries(text: str) -> Iterable[str]:
    return filter(None, (piece.strip() for piece in text.split(",")))


def _local_entry(part: str, number: int) -> LocalRootKey:
    try:
        key = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != crypto.KEY_BYTES:
        raise ImproperlyConfigured(
            f"Root key number {number} in NEXUS_ROOT_KEY is not base64url of {crypto.KEY_BYTES} bytes."
        )
    return LocalRootKey(key)


def _aws_entry(part: str, number: int) -> AwsKmsRootKey:
    try:
        return _aws_root_key(part.removeprefix(AWS_PREFIX), settings.NEXUS_AWS_KMS_URL)
    except ValueError:
        raise ImproperlyConfigured(
            f"Root key number {number} in NEXUS_ROOT_KEY names no key of AWS KMS: write "
            "aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID, or aws-kms:alias/NAME."
        ) from None

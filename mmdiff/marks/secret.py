"""Secrets: named, never held.

    key(secret, parts) = first 64 bits of HMAC-SHA256(secret, parts)

A configuration, a sidecar and a log have ``env:NAME``, the variable that holds the secret, and the hash by which two
secrets are told apart.
"""

import hashlib
import hmac
import os

LEAST = 16
"""Characters of a secret: its hash is public, so that what can be guessed would be."""


class Secret:
    """The secret in an environment variable, ``env:NAME``, read each time that it is used.

    Raises ``ValueError`` where it is written out, not set, or short enough to be guessed.
    """

    def __init__(self, path: str):
        kind, _, self.name = path.partition(":")
        if kind != "env" or not self.name:
            raise ValueError("a secret is not written into a configuration: secret=env:NAME names the variable of the "
                             "environment that holds it")
        if len(self._value()) < LEAST:
            raise ValueError(f"the secret in {self.name} is shorter than {LEAST} characters, and could be guessed")

    def _value(self) -> bytes:
        if (value := os.environ.get(self.name)) is None:
            raise ValueError(f"secret=env:{self.name}: the variable {self.name} is not set")
        return value.encode()

    def key(self, *parts: str | int) -> int:
        """A seed of 64 bits for these parts, which tells nothing of the secret."""
        message = "/".join(map(str, ("mmdiff", *parts))).encode()
        return int.from_bytes(hmac.digest(self._value(), message, hashlib.sha256)[:8], "big")

    @property
    def id(self) -> str:
        """A hash of 32 bits, by which two secrets are told apart."""
        return f"{self.key('id') >> 32:08x}"

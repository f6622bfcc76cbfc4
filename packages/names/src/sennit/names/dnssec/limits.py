"""How much work one answer may make, and the count of what it made.

A zone can be built so that validating one answer of it costs thousands of signatures
(CVE-2023-50387, "KeyTrap") or hashes (CVE-2023-50868). Every try counts against a `Work`, made
anew for each answer; past its limits the answer is bogus.
"""

from __future__ import annotations

from typing import Final

from sennit.names.errors import ValidationError

__all__ = ["RECOMMENDED_ITERATIONS", "TooMuchWorkError", "ValidationLimits", "Work"]

RECOMMENDED_ITERATIONS: Final = 0
"""Additional iterations that a zone of NSEC3 ought to have (RFC 9276 §3.1)."""


class TooMuchWorkError(ValidationError):
    """An answer would cost more than is spent on one."""


class ValidationLimits:
    """What validating one answer may cost.

    Args:
        signatures: Signatures verified, good and bad, the chain of trust included.
        failures: Signatures that turn out bad.
        signatures_per_rrset: Signatures looked at for one RRset; the others are not.
        keys_per_tag: Keys of one tag and algorithm that a signature is tried with.
        keys: DNSKEY records of a zone; more make it bogus.
        ds: DS records of a zone; more make it bogus.
        hashes: Names hashed for NSEC3.
        iterations: Additional iterations of NSEC3; a zone with more is insecure (RFC 9276 §3.2).
        fetches: Questions for DS and DNSKEY.
        rrsets: RRsets validated.
    """

    __slots__ = (
        "ds",
        "failures",
        "fetches",
        "hashes",
        "iterations",
        "keys",
        "keys_per_tag",
        "rrsets",
        "signatures",
        "signatures_per_rrset",
    )

    def __init__(
        self,
        *,
        signatures: int = 128,
        failures: int = 8,
        signatures_per_rrset: int = 8,
        keys_per_tag: int = 2,
        keys: int = 32,
        ds: int = 32,
        hashes: int = 160,
        iterations: int = 50,
        fetches: int = 64,
        rrsets: int = 100,
    ) -> None:
        self.signatures = signatures
        self.failures = failures
        self.signatures_per_rrset = signatures_per_rrset
        self.keys_per_tag = keys_per_tag
        self.keys = keys
        self.ds = ds
        self.hashes = hashes
        self.iterations = iterations
        self.fetches = fetches
        self.rrsets = rrsets


class Work:
    """What one answer has cost so far.

    Args:
        limits: What it may cost.

    Attributes:
        signatures: Signatures verified.
        failures: Those of them that were bad.
        hashes: Names hashed for NSEC3.
        fetches: Questions asked.
        rrsets: RRsets looked at.
    """

    __slots__ = ("failures", "fetches", "hashes", "limits", "rrsets", "signatures")

    def __init__(self, limits: ValidationLimits | None = None) -> None:
        self.limits = limits or ValidationLimits()
        self.signatures = 0
        self.failures = 0
        self.hashes = 0
        self.fetches = 0
        self.rrsets = 0

    def signature(self) -> None:
        """Count a signature, before it is verified.

        Raises:
            TooMuchWorkError: One too many.
        """
        self.signatures = self._next("signatures", self.signatures)

    def failure(self) -> None:
        """Count a signature that was bad.

        Raises:
            TooMuchWorkError: One too many.
        """
        self.failures = self._next("failures", self.failures)

    def hash(self) -> None:
        """Count a name, before it is hashed.

        Raises:
            TooMuchWorkError: One too many.
        """
        self.hashes = self._next("hashes", self.hashes)

    def fetch(self) -> None:
        """Count a question, before it is asked.

        Raises:
            TooMuchWorkError: One too many.
        """
        self.fetches = self._next("fetches", self.fetches)

    def rrset(self) -> None:
        """Count an RRset, before it is looked at.

        Raises:
            TooMuchWorkError: One too many.
        """
        self.rrsets = self._next("rrsets", self.rrsets)

    def _next(self, what: str, count: int) -> int:
        most = getattr(self.limits, what)
        if count >= most:
            raise TooMuchWorkError(f"validation would take more than {most} {what}")
        return count + 1

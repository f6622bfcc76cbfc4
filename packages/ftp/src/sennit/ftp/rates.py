"""Octets per second: what a session may have, and what all sessions of one user may."""

from __future__ import annotations

from sennit.core.policy.bucket import TokenBucket

__all__ = ["Rates", "UserBuckets", "buckets"]


class Rates:
    """Octets per second that a session, and all sessions of one user together, may have.

    Args:
        download: What one session is sent.
        upload: What one session sends.
        user_download: What all sessions of one user are sent.
        user_upload: What they send.

    Raises:
        ValueError: One of them is not above 0.
    """

    __slots__ = ("download", "upload", "user_download", "user_upload")

    def __init__(
        self,
        *,
        download: float | None = None,
        upload: float | None = None,
        user_download: float | None = None,
        user_upload: float | None = None,
    ) -> None:
        for rate in (download, upload, user_download, user_upload):
            if rate is not None:
                TokenBucket(rate)  # its ValueError here, not at the first login
        self.download = download
        self.upload = upload
        self.user_download = user_download
        self.user_upload = user_upload


class UserBuckets:
    """What the sessions of one user share."""

    __slots__ = ("__weakref__", "download", "upload")

    def __init__(self, rates: Rates) -> None:
        self.download = buckets(rates.user_download)
        self.upload = buckets(rates.user_upload)


def buckets(rate: float | None) -> tuple[TokenBucket, ...]:
    """What a rate is kept by: nothing where there is none."""
    return () if rate is None else (TokenBucket(rate),)

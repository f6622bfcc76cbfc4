"""HTTP/2 (RFC 9113): frames, streams and windows; both sides, over h2 (extra ``http2``)."""

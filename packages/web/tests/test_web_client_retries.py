"""What is tried again, when, and how often."""

from __future__ import annotations

import pytest

from sennit.core.errors import ConnectError, ConnectionLost, LimitReachedError, TLSError
from sennit.web.client.retries import Retries, parse_retry_after
from sennit.web.errors import CutShortError, RequestTimeoutError, UnansweredError, WebProtocolError


def retries(total: int = 3, **options: object) -> Retries:
    return Retries(total, draw=lambda: 0.5, wall_clock=lambda: 1_000_000_000.0, **options)  # type: ignore[arg-type]  # names vary


def test_waits_double_and_are_drawn_below_that() -> None:
    policy = retries(10, longest=5)
    delays = [policy.after_error("GET", ConnectionLost(), each) for each in range(6)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 2.5, 2.5]
    assert policy.after_error("GET", ConnectionLost(), 10) is None


def test_only_what_may_be_repeated_is() -> None:
    """RFC 9110 §9.2.2."""
    policy = retries()
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert policy.after_error(method, ConnectionLost(), 0) is not None
        assert policy.after_status(method, 503, None, 0) is not None
    for method in ("POST", "PATCH", "CONNECT"):
        assert policy.after_error(method, ConnectionLost(), 0) is None
        assert policy.after_error(method, UnansweredError("x"), 0) is None
        assert policy.after_status(method, 503, None, 0) is None
    anything = retries(methods=None)
    assert anything.after_error("POST", ConnectionLost(), 0) is not None


def test_what_never_reached_the_server_is_repeated_whatever_its_method() -> None:
    policy = retries()
    assert policy.after_error("POST", ConnectError("x"), 0) is not None
    assert policy.after_error("POST", UnansweredError("x", untouched=True), 0) is not None
    assert policy.after_error("POST", RequestTimeoutError("connect", 1, "x"), 0) is not None


def test_what_would_fail_again_is_not_repeated() -> None:
    policy = retries()
    assert policy.after_error("GET", TLSError("certificate has expired"), 0) is None
    assert policy.after_error("GET", ConnectError("x", [TLSError("bad")]), 0) is None
    assert policy.after_error("GET", WebProtocolError("x", "RFC 9112 §5"), 0) is None
    assert policy.after_error("GET", LimitReachedError("x"), 0) is None
    assert policy.after_error("GET", RequestTimeoutError("total", 1, "x"), 0) is None


def test_an_answer_that_did_not_come_in_time_is_asked_for_again_unless_told_otherwise() -> None:
    late = RequestTimeoutError("read", 1, "x")
    assert retries().after_error("GET", late, 0) is not None
    assert retries().after_error("POST", late, 0) is None
    assert retries(timeouts=False).after_error("GET", late, 0) is None


def test_an_answer_that_was_cut_short_is_asked_for_again() -> None:
    cut = CutShortError("the content was cut short")
    assert retries().after_error("GET", cut, 0) is not None
    assert retries().after_error("POST", cut, 0) is None


def test_only_answers_that_say_later_are_asked_for_again() -> None:
    policy = retries()
    for status in (429, 502, 503, 504):
        assert policy.after_status("GET", status, None, 0) is not None
    for status in (200, 404, 500, 501):
        assert policy.after_status("GET", status, None, 0) is None
    assert policy.after_status("GET", 503, None, 3) is None


def test_a_server_that_says_when_is_believed_within_bounds() -> None:
    """RFC 9110 §10.2.3; a little is added, since everybody was told the same moment."""
    policy = retries()
    assert policy.after_status("GET", 503, "7", 0) == 7.25
    assert policy.after_status("GET", 503, "Sun, 09 Sep 2001 01:46:50 GMT", 0) == 10.25
    assert policy.after_status("GET", 503, "soon", 0) == 0.25
    assert policy.after_status("GET", 503, "121", 0) is None
    assert policy.after_status("GET", 503, "9" * 400, 0) is None


def test_both_forms_of_retry_after_are_read() -> None:
    assert parse_retry_after(" 120 ", 0) == 120
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10) == 50
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 100) == 0
    for odd in ("", "-1", "1.5", "١", "Thursday"):
        assert parse_retry_after(odd, 0) is None


def test_when_much_fails_little_is_repeated() -> None:
    policy = retries(budget=2)
    assert policy.after_error("GET", ConnectionLost(), 0) is not None
    assert policy.after_error("GET", ConnectionLost(), 0) is not None
    assert policy.after_error("GET", ConnectionLost(), 0) is None
    for _ in range(11):
        policy.succeeded()
    assert policy.after_error("GET", ConnectionLost(), 0) is not None
    assert policy.after_error("GET", ConnectionLost(), 0) is None
    unbound = retries(budget=None)
    unbound.succeeded()
    assert all(unbound.after_error("GET", ConnectionLost(), 0) for _ in range(100))


def test_policies_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="counted from 0"):
        Retries(-1)
    with pytest.raises(ValueError, match="some length"):
        Retries(first=0)

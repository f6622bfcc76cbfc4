"""What a web service puts around its content, and beside it, as its configuration says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import ConfigError, SennitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.http import IHTTPHandler
    from sennit.core.service.tree import ServiceContext
    from sennit.web.config import WebConfig
    from sennit.web.server import Handler
    from sennit.web.wrappers import Wrapper

__all__ = ["handlers_of", "wrappers_of"]


def wrappers_of(config: WebConfig, context: ServiceContext) -> list[Wrapper]:
    """The wrappers that a configuration asks for, the outermost first.

    Raises:
        ConfigError: One of them cannot be made; its key says which.
    """
    found: list[Wrapper] = []

    def add(key: str, make: Callable[[], Wrapper]) -> None:
        try:
            found.append(make())
        except ConfigError:
            raise
        except (SennitError, OSError, ValueError) as error:
            raise ConfigError(str(error), key=key) from error

    # Who asks comes first, then what is said of each request, then who may ask for what.
    if config.trusted_proxies:
        from sennit.web.proxy.forwarded import trust_forwarded

        add("trusted_proxies", lambda: trust_forwarded(config.trusted_proxies))
    if config.request_ids:
        from sennit.web.requestids import request_ids

        add("request_ids", lambda: request_ids(trusted=config.trusted_proxies))
    if config.error_pages:
        add("error_pages", lambda: _error_pages(config))
    if config.hosts:
        add("hosts", lambda: _hosts(config.hosts))
    if config.https_only:
        from sennit.web.rewriting import https_only

        add("https_only", https_only)
    if config.canonical_host is not None:
        from sennit.web.rewriting import canonical_host

        host = config.canonical_host
        add("canonical_host", lambda: canonical_host(host))
    if config.redirects:
        from sennit.web.rewriting import Redirect, rewrite

        rules = config.redirects
        add("redirects", lambda: rewrite([Redirect(*each) for each in rules.items()]))
    if config.users is not None:
        add("users", lambda: _login(config, context))
    if config.compress:
        add("compress", _compress)
    return found


def handlers_of(config: WebConfig) -> dict[str, IHTTPHandler]:
    """What other packages answer, by path.

    Raises:
        ConfigError: There is no such plugin, it takes no such options, or the path is none.
    """
    if not config.handlers:
        return {}
    from sennit.core.http import web_handler
    from sennit.web.handlers import mounted

    found: dict[str, IHTTPHandler] = {}
    for each in config.handlers:
        if each.path in found:
            raise ConfigError(f"found {each.path!r} twice", key="handlers")
        try:
            found[each.path] = web_handler(each.handler, **each.options)
            mounted(found)
        except (SennitError, ValueError) as error:
            raise ConfigError(str(error), key="handlers") from error
    return found


def _error_pages(config: WebConfig) -> Wrapper:
    from sennit.web.errorpages import error_pages

    pages = {key: path.read_text("utf-8") for key, path in config.error_pages.items()}
    default = pages.pop("default", None)
    for key in pages:
        if not key.isdecimal():
            raise ConfigError(f"found {key!r}; a status, or 'default'", key="error_pages")
    return error_pages({int(key): page for key, page in pages.items()}, default=default)


def _hosts(names: list[str]) -> Wrapper:
    from sennit.web.virtualhosts import hosts

    def wrap(handler: Handler) -> Handler:
        return hosts(dict.fromkeys(names, handler))

    # Now, so that a name that is none is told.
    hosts({name: lambda request: None for name in names})
    return wrap


def _login(config: WebConfig, context: ServiceContext) -> Wrapper:
    from sennit.core.auth.portal import Portal
    from sennit.web.auth import require_login

    assert config.users is not None
    portal = Portal(checkers=[context.users(config.users)])
    return require_login(
        portal, config.login, realm=config.realm, allow_plaintext=config.login_in_clear
    )


def _compress() -> Wrapper:
    from sennit.web.compression import compress
    from sennit.web.decoding import available_codings

    return compress([each for each in available_codings() if each != "deflate"])

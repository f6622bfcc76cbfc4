"""The loop: readiness, timers, the ready queue, and its guests and hosts.

`base` holds the reactor, `epoll`, `kqueue`, `poll` and `select` the pollers,
`eventloop` the reactor as asyncio's loop, `foreign` the reactor inside a loop
that somebody else runs.
"""

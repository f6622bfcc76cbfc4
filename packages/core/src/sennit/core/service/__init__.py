"""Services: things that run, what configures them, and the command that runs them.

`tree` holds the life cycle, `server` the service that listens, `config` the
typed configuration, `loading` what reads it from TOML or from options,
`runner` one run of a node, `cli` the `sennit` command, `plugin` the services
that core itself brings. How a strand adds one: `sennit.core.plugin`.
"""

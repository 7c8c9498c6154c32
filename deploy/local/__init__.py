"""The whole platform on one machine: set-up, Redis, Triton and the API as child processes on loopback.

`python -m deploy.local serve`, `demo` and `doctor`. The set-up half (`setup`, `layout`, `environments`,
`indexes`, `packages`) uses the standard library only, because it runs before any environment exists.
"""

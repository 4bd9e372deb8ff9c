"""Several processes on one chip: a broker owns the devices, others reach them over a UNIX socket and shared memory.

Client: `client` (one connection), `device` and `network` (what is used in place of a device and its networks),
`dispatch`, `virtual`. Broker: `server`, `session` (one client), `shared_model` (one model of a client), `raw_plan`.
Both: `wire`, `messages`, `refusals`, `memory`, `rings`, `place`.
"""

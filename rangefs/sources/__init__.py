"""Upstreams: one module a kind, behind the protocol in `sources.base`; the HTTP exchange is written once."""

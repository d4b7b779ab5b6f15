"""Parsers of what upstreams answer for a folder. Pure: bytes and headers in, `Listing` out."""

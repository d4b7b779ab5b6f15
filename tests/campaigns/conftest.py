"""Campaigns drive the same mounts as the end-to-end tests."""

from tests.e2e.conftest import make_mount

__all__ = ["make_mount"]

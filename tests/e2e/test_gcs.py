"""``gs://`` through a real mount, from fake-gcs-server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e import bucket_checks
from tests.e2e.conftest import MakeMount
from tests.emulators import AWKWARD_KEYS, FakeGcs, shown_content

pytestmark = pytest.mark.mount


@pytest.fixture
def gcs(start_server: StartServer, tmp_path: Path) -> FakeGcs:
    server = start_server(FakeGcs, tmp_path)
    assert isinstance(server, FakeGcs)
    return server


def test_objects_of_awkward_names_are_all_there_and_right(gcs: FakeGcs, make_mount: MakeMount) -> None:
    for key in AWKWARD_KEYS:
        gcs.put(key, shown_content(key))
    bucket_checks.check_awkward_keys(gcs, make_mount(gcs.source, **gcs.options))


def test_ranges_of_a_large_object_are_fetched_once(gcs: FakeGcs, make_mount: MakeMount) -> None:
    bucket_checks.check_ranges_of_a_large_object(gcs, make_mount(gcs.source, **gcs.options))


def test_stored_gzip_is_served_as_it_is_stored(gcs: FakeGcs, make_mount: MakeMount) -> None:
    bucket_checks.check_stored_gzip_is_served_as_stored(gcs, make_mount(gcs.source, **gcs.options))


def test_a_replaced_object_is_never_mixed_with_the_new_one(gcs: FakeGcs, make_mount: MakeMount) -> None:
    bucket_checks.check_a_replaced_object(gcs, make_mount(gcs.source, metadata_ttl="100ms", **gcs.options))


def test_a_folder_of_several_pages_is_whole(gcs: FakeGcs, make_mount: MakeMount) -> None:
    bucket_checks.check_pages(gcs, make_mount(gcs.source, **gcs.options), 2001)


def test_a_prefix_and_a_single_object_can_be_mounted(gcs: FakeGcs, make_mount: MakeMount) -> None:
    gcs.put("some folder/file.txt", b"inside")
    with make_mount("gs://tricky/some%20folder", **gcs.options) as mount:
        assert (mount.path / "file.txt").read_bytes() == b"inside"
    with make_mount("gs://tricky/some%20folder/file.txt", **gcs.options) as mount:
        assert (mount.path / "file.txt").read_bytes() == b"inside"
        assert [path.name for path in mount.path.iterdir()] == ["file.txt"]


def test_a_bucket_that_is_not_there_is_named_in_the_error(gcs: FakeGcs, make_mount: MakeMount) -> None:
    bucket_checks.check_refusal(make_mount("gs://nowhere", **gcs.options), "gs://nowhere", "not found")
    bucket_checks.check_refusal(
        make_mount("gs://tricky/nothing", **gcs.options), "gs://tricky/nothing", "no such object"
    )


def test_a_token_from_a_file_is_never_written(gcs: FakeGcs, make_mount: MakeMount, tmp_path: Path) -> None:
    gcs.put("file", b"content")
    token = tmp_path / "token"
    token.write_text("planted-token-that-nobody-may-see")
    token.chmod(0o600)
    options = {"endpoint_url": gcs.url, "bearer_token_file": str(token), "log_level": "debug"}
    with make_mount(gcs.source, **options) as mount:
        assert (mount.path / "file").read_bytes() == b"content"
        assert not (mount.path / "nothing").exists()
        assert os.getxattr(mount.path / "file", "user.rangefs.url") == b"gs://tricky/file"
        bucket_checks.check_nothing_written(mount, [token.read_text()])

"""``az://`` through a real mount, from Azurite, which checks signatures as the service does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e import bucket_checks
from tests.e2e.conftest import MakeMount
from tests.emulators import AWKWARD_KEYS, Azurite, shown_content

pytestmark = pytest.mark.mount


@pytest.fixture
def azurite(start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    """With its key in the environment; tests of other credentials take it out."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    server = start_server(Azurite, tmp_path)
    assert isinstance(server, Azurite)
    monkeypatch.setenv("AZURE_STORAGE_KEY", server.key)
    return server


def test_objects_of_awkward_names_are_all_there_and_right(azurite: Azurite, make_mount: MakeMount) -> None:
    for key in AWKWARD_KEYS:
        azurite.put(key, shown_content(key))
    bucket_checks.check_awkward_keys(azurite, make_mount(azurite.source, **azurite.options))


def test_ranges_of_a_large_object_are_fetched_once(azurite: Azurite, make_mount: MakeMount) -> None:
    bucket_checks.check_ranges_of_a_large_object(azurite, make_mount(azurite.source, **azurite.options))


def test_stored_gzip_is_served_as_it_is_stored(azurite: Azurite, make_mount: MakeMount) -> None:
    bucket_checks.check_stored_gzip_is_served_as_stored(azurite, make_mount(azurite.source, **azurite.options))


def test_a_replaced_object_is_never_mixed_with_the_new_one(azurite: Azurite, make_mount: MakeMount) -> None:
    bucket_checks.check_a_replaced_object(azurite, make_mount(azurite.source, metadata_ttl="100ms", **azurite.options))


def test_a_prefix_and_a_single_object_can_be_mounted(azurite: Azurite, make_mount: MakeMount) -> None:
    azurite.put("some folder/file.txt", b"inside")
    with make_mount(azurite.source + "some%20folder", **azurite.options) as mount:
        assert (mount.path / "file.txt").read_bytes() == b"inside"
    with make_mount(azurite.source + "some%20folder/file.txt", **azurite.options) as mount:
        assert (mount.path / "file.txt").read_bytes() == b"inside"
        assert [path.name for path in mount.path.iterdir()] == ["file.txt"]


def test_a_container_that_is_not_there_is_named_in_azures_words(azurite: Azurite, make_mount: MakeMount) -> None:
    source = f"az://{azurite.account}/nowhere"
    bucket_checks.check_refusal(make_mount(source, **azurite.options), source, "ContainerNotFound", "request ")


def test_a_wrong_key_is_told_in_azures_words(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.key.replace("E", "F"))
    bucket_checks.check_refusal(make_mount(azurite.source, **azurite.options), "AuthorizationFailure", "request ")


def test_a_signature_from_a_file_is_read_again_when_it_changes_and_is_never_written(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    azurite.put("a", b"first")
    azurite.put("b", b"second")
    file = tmp_path / "sas"
    file.write_text(azurite.account_sas(permissions="rl"))
    file.chmod(0o600)
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN_FILE", str(file))
    planted = [file.read_text().partition("sig=")[2]]
    with make_mount(azurite.source, log_level="debug", **azurite.options) as mount:
        assert (mount.path / "a").read_bytes() == b"first"
        fresh = tmp_path / "fresh"
        fresh.write_text(azurite.account_sas(valid_s=7200, permissions="rl"))
        fresh.chmod(0o600)
        planted.append(fresh.read_text().partition("sig=")[2])
        fresh.rename(file)
        assert (mount.path / "b").read_bytes() == b"second"
        planted.append(os.getxattr(mount.path / "a", "user.rangefs.url").decode().partition("sig=")[2] or "sig=")
        bucket_checks.check_nothing_written(mount, planted)


def test_a_signature_that_expired_says_so(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", azurite.account_sas(valid_s=-60))
    bucket_checks.check_refusal(make_mount(azurite.source, **azurite.options), "AuthorizationFailure", "access denied")


def test_a_file_that_others_can_read_is_refused(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "sas"
    file.write_text(azurite.account_sas())
    file.chmod(0o644)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN_FILE", str(file))
    bucket_checks.check_refusal(make_mount(azurite.source, **azurite.options), "chmod 600", status=2)


def test_a_public_container_needs_nobody(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    azurite.put("open", b"to all")
    azurite.open_to_all()
    with make_mount(azurite.source, anonymous=True, **azurite.options) as mount:
        assert (mount.path / "open").read_bytes() == b"to all"


def test_a_connection_string_is_enough(
    azurite: Azurite, make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    azurite.put("file", b"content")
    text = f"AccountName={azurite.account};AccountKey={azurite.key};BlobEndpoint={azurite.url}{azurite.account};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "DefaultEndpointsProtocol=http;" + text)
    with make_mount(azurite.source, log_level="debug") as mount:
        assert (mount.path / "file").read_bytes() == b"content"
        bucket_checks.check_nothing_written(mount, [azurite.key])

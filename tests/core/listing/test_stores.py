"""The stores' pages and error documents, as captured, and as their documentation allows them to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.entries import Kind
from rangefs.core.listing.azure import parse_azure_page
from rangefs.core.listing.gcs import parse_gcs_page
from rangefs.core.listing.moments import SECOND_NS
from rangefs.core.listing.objects import Page, StoredObject, listing_of
from rangefs.core.listing.s3 import parse_s3_page
from rangefs.core.listing.store_errors import StoreError, parse_store_error
from rangefs.errors import NotAListing

SAMPLES = Path(__file__).parents[2] / "samples"
Parser = Callable[[bytes], Page]
STORES: dict[str, Parser] = {
    "s3-moto": parse_s3_page,
    "s3-rclone": parse_s3_page,
    "azure-azurite": parse_azure_page,
    "gcs-json": parse_gcs_page,
}
AWKWARD = {
    b"%00", b"%2F", b"<tag>", b"CASE", b"amp&lt;x", b"case", b"colon:x", b"dir_$folder$", "emoji😀".encode(), b"hash#x",
    b"pct%20lit", b"plus+sign", b"q?m", b"quote'\"x", b"star*", b"trail ", b"trail.", "uni\u00e9".encode(),
    b"with space", b"~tilde",
}  # fmt: skip


def sample(store: str, name: str) -> bytes:
    return (SAMPLES / store / f"{name}.body").read_bytes()


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("s3-moto", "list-delim-url"),
        ("s3-moto", "list-all-url"),
        ("s3-rclone", "list-delim-url"),
        ("s3-rclone", "list-all"),
        ("azure-azurite", "list-delim"),
        ("azure-azurite", "list-flat"),
        ("gcs-json", "list-delim"),
        ("gcs-json", "list-all"),
    ],
)
def test_awkward_keys_come_out_as_they_were_put(store: str, name: str) -> None:
    listing = listing_of([STORES[store](sample(store, name))], b"", b"")
    keys = {entry.key for entry in listing.entries}
    assert keys >= AWKWARD
    assert keys >= {b"dir/", b"long/", "日本語/".encode()}
    assert listing.refused == 0
    assert {len(entry.key) for entry in listing.entries if set(entry.key) == {ord("n")}} <= {1024, 255, 256}


@pytest.mark.parametrize("store", ["s3-moto", "gcs-json"])
def test_dots_and_double_slashes_in_a_prefix(store: str) -> None:
    listing = listing_of([STORES[store](sample(store, "list-prefix-dir"))], b"dir/", b"dir/")
    assert {(entry.key, entry.kind) for entry in listing.entries} == {
        (b"dir/..", Kind.FILE),
        (b"dir/x", Kind.FILE),
        (b"dir/../", Kind.FOLDER),
        (b"dir/./", Kind.FOLDER),
        (b"dir//", Kind.FOLDER),
        (b"dir/sub/", Kind.FOLDER),
    }
    assert b"%%+%2E%2E" in listing.by_name


@pytest.mark.parametrize(
    ("store", "token"),
    [("s3-moto", "5058f1af8388633f609cadb75a75dc9d"), ("s3-rclone", "PHRhZz4="), ("azure-azurite", "/lead")],
)
def test_tokens_are_verbatim(store: str, token: str) -> None:
    assert STORES[store](sample(store, "list-delim-page1")).next_token == token


@pytest.mark.parametrize("store", STORES)
def test_the_last_page_has_no_token(store: str) -> None:
    name = "list-delim" if (SAMPLES / store / "list-delim.body").exists() else "list-delim-url"
    assert STORES[store](sample(store, name)).next_token == ""


def test_objects_carry_what_answers_will() -> None:
    assert parse_s3_page(sample("s3-moto", "list-delim-page1")).objects[2] == StoredObject(
        b".", 9, 1_795_465_207 * SECOND_NS, SECOND_NS, '"e5008df9e183f3abaeccdb1b3e8730f1"'
    )
    rclone = parse_s3_page(sample("s3-rclone", "list-delim-page2")).objects
    assert [stored.validator for stored in rclone] == [
        '"14e01e01f434a695e348066d7d627bce"',
        '"d41d8cd98f00b204e9800998ecf8427e"',
        "",
    ]
    azure = parse_azure_page(sample("azure-azurite", "list-delim-page2")).objects[0]
    assert azure == StoredObject(b"<tag>", 1, 1_795_465_224 * SECOND_NS, SECOND_NS, '"0x1C975CC2649ED00"')
    gcs = parse_gcs_page(sample("gcs-json", "list-delim")).objects[0]
    assert gcs == StoredObject(b"%00", 1, 1_795_465_223_476_100_000, 0, "1795465223476185")


def test_without_encoding_type_a_plus_is_a_plus() -> None:
    page = b"<ListBucketResult><Contents><Key>a+b%20c</Key></Contents></ListBucketResult>"
    assert parse_s3_page(page).objects[0].key == b"a+b%20c"


def test_encoding_type_counts_wherever_it_stands() -> None:
    contents = b"<Contents><Key>a+b%2Bc</Key></Contents><CommonPrefixes><Prefix>x+%2F/</Prefix></CommonPrefixes>"
    for page in (b"<EncodingType>url</EncodingType>" + contents, contents + b"<EncodingType>url</EncodingType>"):
        parsed = parse_s3_page(b"<ListBucketResult>" + page + b"</ListBucketResult>")
        assert (parsed.objects[0].key, parsed.prefixes) == (b"a b+c", (b"x //",))


def test_owners_are_not_keys() -> None:
    page = (
        b"<ListBucketResult><Contents><Key>k</Key><Owner><Key>x</Key><ID>1</ID></Owner></Contents></ListBucketResult>"
    )
    assert parse_s3_page(page).objects == (StoredObject(b"k", mtime_precision_ns=SECOND_NS),)


def test_half_a_folder_without_a_token_is_no_listing() -> None:
    with pytest.raises(NotAListing, match="cut off"):
        parse_s3_page(b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
    with pytest.raises(NotAListing, match="cut off"):
        parse_s3_page(sample("s3-moto", "list-v1"))


def test_azures_encoded_names_and_hierarchical_folders() -> None:
    page = parse_azure_page(
        b"<EnumerationResults><Blobs>"
        b'<Blob><Name Encoded="true">ctrl%01%25</Name><Properties><Etag>e</Etag></Properties></Blob>'
        b"<Blob><Name>100%25</Name></Blob>"
        b"<Blob><Name>dir</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>"
        b"<Blob><Name>stub</Name><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>"
        b'<BlobPrefix><Name Encoded="true">p%02/</Name>'
        b"<Properties><ResourceType>directory</ResourceType></Properties></BlobPrefix>"
        b"<Blob><Name>file</Name></Blob>"
        b"</Blobs><NextMarker /></EnumerationResults>"
    )
    assert [stored.key for stored in page.objects] == [b"ctrl\x01%", b"100%25", b"file"]
    assert page.prefixes == (b"dir/", b"stub/", b"p\x02/")


@pytest.mark.parametrize(
    "body", [b"[]", b'{"items":{}}', b'{"items":[1]}', b'{"items":[{}]}', b'{"error":{}}', b"{", b"[" * 99_999]
)
def test_what_gcs_never_sends_is_no_listing(body: bytes) -> None:
    with pytest.raises(NotAListing):
        parse_gcs_page(body)


def test_an_empty_bucket_is_an_empty_page() -> None:
    assert parse_gcs_page(b"{}") == parse_gcs_page(b'{"kind":"storage#objects"}') == Page(())
    assert parse_s3_page(sample("s3-moto", "list-prefix-missing")) == Page(())


@pytest.mark.parametrize(
    ("store", "name", "code"),
    [
        ("s3-moto", "no-such-key", "NoSuchKey"),
        ("s3-moto", "no-such-bucket", "NoSuchBucket"),
        ("s3-rclone", "no-such-bucket", "NoSuchBucket"),
        ("azure-azurite", "no-container", "ContainerNotFound"),
        ("azure-azurite", "bad-sas", "AuthorizationFailure"),
        ("gcs-json", "no-object", "Not Found"),
    ],
)
def test_errors_in_the_stores_own_words(store: str, name: str, code: str) -> None:
    error = parse_store_error(sample(store, name))
    assert error is not None
    assert error.code == code
    assert bool(error.request_id) == (store in ("s3-moto", "azure-azurite"))
    assert "RequestId" not in error.message
    with pytest.raises(NotAListing):
        STORES[store](sample(store, name))


def test_the_right_region_is_read_from_a_wrong_regions_error() -> None:
    body = (
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message><Region>eu-west-1</Region>"
        b"<RequestId>R1</RequestId><HostId>h</HostId></Error>"
    )
    assert parse_store_error(body) == StoreError("AuthorizationHeaderMalformed", "wrong", "R1", "eu-west-1")


def test_errors_repeat_nothing_of_the_request_and_stay_one_line() -> None:
    body = (
        b"<Error><Code>SignatureDoesNotMatch</Code><Message>no\nmatch\xc2\x9b" + b"x" * 1000 + b"</Message>"
        b"<AWSAccessKeyId>AKIASECRET</AWSAccessKeyId><StringToSign>AKIASECRET</StringToSign></Error>"
    )
    error = parse_store_error(body)
    assert error is not None
    assert "AKIASECRET" not in repr(error)
    assert error.message.startswith("no match x")
    assert len(error.message) <= 300


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"oops",
        b"<html><Code>x</Code></html>",
        b"<Error/>",
        b"{}",
        b'{"error":"x"}',
        b"{",
        b"<!DOCTYPE Error><Error/>",
    ],
)
def test_what_is_no_error_document_is_none(body: bytes) -> None:
    assert parse_store_error(body) is None


@settings(deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=80),
        st.text(max_size=40).map(lambda text: b'{"error":{"message":"%s"}}' % text.encode("utf-8", "replace")),
    )
)
def test_any_bytes_are_an_error_or_none(body: bytes) -> None:
    error = parse_store_error(body)
    assert error is None or "\n" not in error.message


@given(
    keys=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))
    )
)
def test_any_text_key_survives_xml(keys: list[str]) -> None:
    rows = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
    page = parse_s3_page(f"<ListBucketResult>{rows}</ListBucketResult>".encode())
    assert [stored.key.decode() for stored in page.objects] == keys


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_damaged_pages_are_pages_or_no_listings(data: st.DataObject) -> None:
    store = data.draw(st.sampled_from(sorted(STORES)))
    path = data.draw(st.sampled_from(sorted((SAMPLES / store).glob("*.body"))))
    body = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(body) - 1))
    body[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=5))
    try:
        page = STORES[store](bytes(body))
    except NotAListing as refusal:
        said = str(refusal)
    else:
        listing_of([page], b"", b"")
        said = ""
    assert "\n" not in said

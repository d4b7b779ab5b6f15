"""No secret in what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.redact import is_secret_header, redact_url

SECRET_FIELDS = ("sig", "X-Amz-Signature", "X-Amz-Credential", "X-Goog-Signature", "token", "access_token", "Signature")


@given(st.sampled_from(SECRET_FIELDS), st.from_regex(r"[A-Za-z0-9%+/=]{20,40}", fullmatch=True))
def test_values_that_sign_are_gone_wherever_they_stand(name: str, secret: str) -> None:
    for url in (
        f"https://h/p?{name}={secret}",
        f"https://h/p?a=1&{name}={secret}&b=2",
        f"https://h/p?{name}={secret}#f",
    ):
        shown = redact_url(url)
        assert secret not in shown
        assert f"{name}=REDACTED" in shown


def test_what_is_no_secret_stays() -> None:
    assert redact_url("https://h/p?page=2&versionId=17") == "https://h/p?page=2&versionId=17"
    assert redact_url("https://h/sig=x/p") == "https://h/sig=x/p"


def test_userinfo_is_gone() -> None:
    assert redact_url("https://user:pw@h/p") == "https://h/p"
    assert redact_url("https://user:pw@h?x=@") == "https://h?x=@"
    assert redact_url("https://h/p@q?a=b@c://d@e") == "https://h/p@q?a=b@c://d@e"


@given(st.text(alphabet="tokensig=&;?#/:@ab", max_size=60))
def test_redacting_twice_changes_nothing_more(url: str) -> None:
    assert redact_url(redact_url(url)) == redact_url(url)


def test_long_urls_from_strangers_take_no_time() -> None:
    url = "https://h/?" + "token" * 200_000 + "&a=b" * 100_000
    assert redact_url(url) == url


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "proxy-authorization",
        "Cookie",
        "X-Auth-Token",
        "x-api-key",
        "X-Amz-Security-Token",
        "Set-Cookie",
    ],
)
def test_secret_headers_are_known(name: str) -> None:
    assert is_secret_header(name)


def test_plain_headers_are_not_secret() -> None:
    assert not any(map(is_secret_header, ["Accept-Language", "X-Custom", "Referer", "X-Keyboard"]))

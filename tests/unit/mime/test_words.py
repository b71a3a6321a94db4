"""Encoded words of RFC 2047."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mime import decode_words
from gateway.mime.words import decode_charset


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("plain text", "plain text", id="none"),
        pytest.param("=?utf-8?q?gr=C3=BC=C3=9Fe?=", "grüße", id="Q"),
        pytest.param("=?UTF-8?Q?a_b=5F?=", "a b_", id="Q underscore"),
        pytest.param("=?utf-8?B?Z3LDvMOfZQ==?=", "grüße", id="B"),
        pytest.param("=?utf-8?b?Z3LDvMOfZQ?=", "grüße", id="B without padding"),
        pytest.param("=?iso-8859-1*de?q?=E4?=", "ä", id="language of RFC 2231 5"),
        pytest.param("a =?utf-8?q?b?= c", "a b c", id="within text"),
        pytest.param("=?utf-8?q?a?= =?utf-8?q?b?=", "ab", id="blank between two words goes"),
        pytest.param("=?utf-8?q?a?= \t =?iso-8859-1?q?=E4?=", "aä", id="of two charsets"),
        pytest.param("=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b", id="text between two words stays"),
        pytest.param("=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä", id="character split over words"),
        pytest.param("=?x-none?q?a?= =?utf-8?q?b?=", "=?x-none?q?a?= b", id="unknown charset stays"),
        pytest.param("=?punycode?q?a?=", "=?punycode?q?a?=", id="a codec that is no charset stays"),
        pytest.param("=?utf-8?b?QQ=A?=", "=?utf-8?b?QQ=A?=", id="malformed B stays"),
        pytest.param("=?utf-8?x?a?=", "=?utf-8?x?a?=", id="unknown encoding stays"),
        pytest.param("=?utf-8?q?=FF?=", "\ufffd", id="wrong octet is replaced"),
        pytest.param("=?utf-8?q?=ZZ?=", "=ZZ", id="malformed Q"),
        pytest.param("=?utf-8?q??=", "", id="empty word"),
        pytest.param("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本", id="Japanese"),
        pytest.param("=?gb2312?b?1tDOxA==?=", "中文", id="Chinese"),
        pytest.param("=?windows-1251?q?=CF=F0=E8?=", "При", id="Cyrillic"),
    ],
)
def test_decodes_words(value: str, expected: str) -> None:
    """Words become text, the rest stays."""
    assert decode_words(value) == expected


@given(st.text())
def test_text_without_words_stays(value: str) -> None:
    """Any text comes back; without the mark of a word, the same."""
    decoded = decode_words(value)
    assert decoded == value or "=?" in value


@given(
    st.lists(st.sampled_from(["=?utf-8?q?", "=?utf-8?b?", "?=", "=C3", "QUJD", " ", "a", "?", "=?x?q?"])).map("".join)
)
def test_any_words_give_text(value: str) -> None:
    """Nothing is raised for words cut anywhere."""
    decode_words(value)


@given(st.binary(max_size=30), st.sampled_from(["utf-8", "iso-2022-jp", "hz-gb-2312", "utf-7", "euc-kr", "tis-620"]))
def test_any_octets_decode(octets: bytes, charset: str) -> None:
    """What is wrong is replaced."""
    assert decode_charset(octets, charset) is not None


def test_work_is_bounded() -> None:
    """Many words, and many beginnings of one, end in an answer."""
    assert decode_words("=?utf-8?q?a?= " * 20_000).strip() == "a" * 20_000
    assert decode_words("=?utf-8?q?" * 20_000) == "=?utf-8?q?" * 20_000

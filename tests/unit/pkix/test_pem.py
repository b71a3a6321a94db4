"""PEM blocks are found, decoded strictly, and written as RFC 7468 asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CertificateError
from gateway.pkix import is_pem, read_pem, write_pem


@given(st.binary(max_size=300), st.sampled_from(["CERTIFICATE", "ENCRYPTED PRIVATE KEY", "X509 CRL"]))
def test_what_is_written_is_read_again(octets: bytes, label: str) -> None:
    """Round trip, in lines of at most 64, with any line ends and text around."""
    pem = write_pem(label, octets)
    assert max(map(len, pem.splitlines())) <= 64
    for form in (pem, b"some text\n" + pem + b"more", pem.replace(b"\n", b"\r\n")):
        (block,) = read_pem(form)
        assert (block.label, block.octets) == (label, octets)


def test_several_blocks_keep_their_order() -> None:
    """A file may hold many."""
    blocks = read_pem(write_pem("A", b"1") + write_pem("B", b"2") + write_pem("A", b"3"))
    assert [(block.label, block.octets) for block in blocks] == [("A", b"1"), ("B", b"2"), ("A", b"3")]


@pytest.mark.parametrize(
    "octets",
    [
        b"-----BEGIN A-----\nAAAA\n",
        b"-----BEGIN A-----\nAAAA\n-----END B-----\n",
        b"-----BEGIN A-----\nA*AA\n-----END A-----\n",
        b"-----BEGIN A-----\nAAA\n-----END A-----\n",
    ],
    ids=["open", "other-end", "alphabet", "padding"],
)
def test_broken_blocks_are_refused(octets: bytes) -> None:
    """Each is a CertificateError."""
    with pytest.raises(CertificateError):
        read_pem(octets)


def test_header_fields_are_kept_as_text() -> None:
    """RFC 1421 encrypted keys are handed on as they are."""
    label = b"RSA PRIVATE KEY-----\n"
    pem = b"-----BEGIN " + label + b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA\n-----END " + label
    (block,) = read_pem(pem)
    assert block.text == pem
    assert block.octets == b""


@given(st.binary(max_size=200))
def test_any_octets_give_blocks_or_our_exception(octets: bytes) -> None:
    """Nothing else gets out."""
    is_pem(octets)
    try:
        read_pem(octets + b"\n-----BEGIN A-----\n" + octets)
    except CertificateError:
        return


def test_der_is_not_pem() -> None:
    """Told by content."""
    assert not is_pem(b"\x30\x03-----BEGIN ")
    assert is_pem(b"text\n" + write_pem("A", b"1"))

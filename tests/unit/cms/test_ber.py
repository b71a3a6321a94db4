"""The cursor over BER: every form is read, malformed octets are a CmsError, and work stays bounded."""

from __future__ import annotations

import time

import pytest
from asn1crypto import core
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.cms import der
from gateway.cms.ber import MOST_DEPTH, Algorithm, Reader, element_budget, is_der
from gateway.errors import CmsError
from tests.unit.cms.forge import indefinite, segments


def walk(octets: bytes) -> int:
    """Enter whatever can be entered; return the number of elements."""
    reader = Reader(octets)
    count = depth = 0
    while True:
        tag = reader.peek()
        if not tag:
            if not depth:
                return count
            reader.leave()
            depth -= 1
        elif tag & 0x20:
            reader.enter(tag)
            depth += 1
            count += 1
        else:
            reader.skip()
            count += 1


@given(st.binary(max_size=300))
@example(b"\x30\x80" * 100)
@example(b"\x24\x80" * 40 + b"\x00" * 80)
@example(b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff")
def test_any_octets(octets: bytes) -> None:
    """Any octets give a value or a CmsError, by whatever method they are read."""
    for read in (
        walk,
        is_der,
        lambda these: Reader(these).skip(),
        lambda these: Reader(these).oid(),
        lambda these: Reader(these).integer(),
        lambda these: Reader(these).octet_string(),
        lambda these: Reader(these).algorithm(),
    ):
        try:
            read(octets)
        except CmsError:
            continue


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x30", id="no length"),
        pytest.param(b"\x30\x01", id="contents missing"),
        pytest.param(b"\x30\x82\x01", id="length cut"),
        pytest.param(b"\x30\x89" + bytes(9), id="length of nine octets"),
        pytest.param(b"\x30\xff" + bytes(200), id="reserved length"),
        pytest.param(b"\x04\x80\x00\x00", id="indefinite primitive"),
        pytest.param(b"\x3f\x81\x01\x00", id="tag number above 30"),
        pytest.param(b"\x30\x80", id="no end of contents"),
        pytest.param(b"\x30\x80\x00", id="half an end of contents"),
        pytest.param(b"\x30\x80\x04\x01", id="indefinite, then cut"),
        pytest.param(b"\x30\x80\x30\x80\x00\x00", id="one end of contents for two"),
        pytest.param(b"\x30\x80" * (MOST_DEPTH + 2) + b"\x00" * 2 * (MOST_DEPTH + 2), id="too deep"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_skip_refuses(octets: bytes) -> None:
    """What is not one element is refused."""
    with pytest.raises(CmsError):
        Reader(octets).skip()


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x30\x03\x04\x02a", id="child beyond parent and input"),
        pytest.param(b"\x30\x03\x04\x02ab", id="child beyond parent"),
        pytest.param(b"\x30\x80\x30\x03\x04\x05a\x00\x00bc", id="child beyond definite parent in indefinite"),
        pytest.param(b"\x30\x02\x00\x00", id="end of contents in a definite element"),
        pytest.param(b"\x30\x80\x00\x01\x00\x00", id="end of contents with contents"),
    ],
)
def test_walk_refuses(octets: bytes) -> None:
    """No element reaches beyond what encloses it; end-of-contents stands only where a length is indefinite."""
    with pytest.raises(CmsError):
        walk(octets)


def test_enter_leave_and_skip_meet() -> None:
    """Whether a nested structure is entered or skipped, the cursor comes to the same place; in all forms of length."""
    inner = der.sequence(der.integer(1), der.sequence(der.octet_string(b"x" * 300)), der.NULL)
    for depth in range(4):
        octets = indefinite(inner, depth) + b"\x05\x00"
        skipped, entered = Reader(octets), Reader(octets)
        skipped.skip()
        entered.enter(0x30)
        assert entered.integer() == 1
        entered.enter(0x30)
        assert entered.octet_string() == b"x" * 300
        entered.leave()
        entered.skip()
        entered.leave()
        assert skipped.position == entered.position == len(octets) - 2
        assert Reader(octets).element(0x30) == octets[:-2]


def test_skip_stays_within_what_encloses() -> None:
    """The end-of-contents of an element does not lie half outside of its parent."""
    reader = Reader(b"\x30\x03\x30\x80\x00\x00")
    reader.enter(0x30)
    with pytest.raises(CmsError):
        reader.skip()


def test_leave_refuses_unread_elements() -> None:
    """A structure with more in it than its definition is not that structure."""
    for octets in (b"\x30\x02\x05\x00", b"\x30\x80\x05\x00\x00\x00"):
        reader = Reader(octets)
        reader.enter(0x30)
        with pytest.raises(CmsError, match="further element"):
            reader.leave()


@given(st.binary(max_size=2000), st.integers(1, 500), st.booleans())
def test_octet_string_in_segments(content: bytes, size: int, definite: bool) -> None:
    """X.690 8.7.3: segments follow each other, whatever their size."""
    octets = segments(content, size, definite=definite)
    assert Reader(octets).octet_string() == content
    assert Reader(segments(content, size, 0x80, definite=definite)).octet_string(0x80) == content


def test_octet_string_in_nested_segments() -> None:
    """Segments may be in segments again."""
    octets = b"\x24\x80" + segments(b"abcdef", 2) + der.octet_string(b"gh") + b"\x24\x00" + b"\x00\x00"
    assert Reader(octets).octet_string() == b"abcdefgh"


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x24\x02\x05\x00", id="segment of another type"),
        pytest.param(b"\x24\x80\x80\x01a\x00\x00", id="segment with the implicit tag"),
        pytest.param(b"\x24\x80" * (MOST_DEPTH + 1) + b"\x00\x00" * (MOST_DEPTH + 1), id="too deep"),
    ],
)
def test_octet_string_refuses(octets: bytes) -> None:
    """Segments are OCTET STRINGs, and not nested without end."""
    with pytest.raises(CmsError):
        Reader(octets).octet_string()


@given(st.integers(min_value=-(2**100), max_value=2**100))
def test_integer(value: int) -> None:
    """What the writer writes is read."""
    assert Reader(der.integer(value)).integer() == value


def test_integer_refuses_no_contents() -> None:
    """X.690 8.3.1: at least one octet."""
    with pytest.raises(CmsError):
        Reader(b"\x02\x00").integer()


@given(
    st.tuples(st.integers(0, 1), st.integers(0, 39)) | st.tuples(st.just(2), st.integers(0, 2**40)),
    st.lists(st.integers(0, 2**40), max_size=6),
)
def test_oid(first: tuple[int, int], rest: list[int]) -> None:
    """What the writer writes is read."""
    dotted = ".".join(map(str, (*first, *rest)))
    assert Reader(der.oid(dotted)).oid() == dotted


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x2a\x86", id="last arc open"),
        pytest.param(b"\x2a\x80\x01", id="leading zero in an arc"),
        pytest.param(b"\x2a" + b"\x81" * 80 + b"\x01", id="longer than any real one"),
    ],
)
def test_oid_refuses(contents: bytes) -> None:
    """Malformed object identifiers."""
    with pytest.raises(CmsError):
        Reader(der.tlv(0x06, contents)).oid()


@pytest.mark.parametrize(
    ("octets", "algorithm", "plain"),
    [
        pytest.param(der.sequence(der.oid("1.2.3")), Algorithm("1.2.3", None), True, id="absent"),
        pytest.param(der.sequence(der.oid("1.2.3"), der.NULL), Algorithm("1.2.3", der.NULL), True, id="NULL"),
        pytest.param(
            der.sequence(der.oid("1.2.3"), der.integer(1)), Algorithm("1.2.3", der.integer(1)), False, id="some"
        ),
    ],
)
def test_algorithm(octets: bytes, algorithm: Algorithm, plain: bool) -> None:
    """Parameters are kept as they stand; absent and NULL are both none (RFC 5754 2)."""
    assert Reader(octets).algorithm() == algorithm
    assert algorithm.has_no_parameters is plain


def test_algorithm_refuses_a_third_element() -> None:
    """An AlgorithmIdentifier has two."""
    with pytest.raises(CmsError):
        Reader(der.sequence(der.oid("1.2.3"), der.NULL, der.NULL)).algorithm()


def test_contents_refuses_indefinite_length() -> None:
    """Contents of unknown end are not cut out."""
    with pytest.raises(CmsError, match="indefinite"):
        Reader(b"\x30\x80\x00\x00").contents(0x30)


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        pytest.param(der.sequence(der.integer(1), der.set_of([der.NULL, der.integer(2)])), True, id="DER"),
        pytest.param(b"\x30\x80\x00\x00", False, id="indefinite"),
        pytest.param(b"\x30\x81\x02\x05\x00", False, id="length in more octets than needed"),
        pytest.param(b"\x30\x82\x00\x80" + bytes(128), False, id="length with a leading zero"),
        pytest.param(b"\x31\x06\x02\x01\x02\x02\x01\x01", False, id="SET out of order"),
        pytest.param(b"\x30\x08\x31\x06\x02\x01\x02\x02\x01\x01", False, id="inner SET out of order"),
        pytest.param(b"\x31\x06\x02\x01\x01\x02\x01\x01", True, id="SET with the same twice"),
        pytest.param(b"\x24\x03\x04\x01a", False, id="string in segments"),
        pytest.param(b"\x10\x00", False, id="primitive SEQUENCE"),
        pytest.param(b"\xa0\x02\x05\x00", True, id="context-specific, constructed"),
        pytest.param(b"\x80\x01a", True, id="context-specific, primitive"),
        pytest.param(b"\x00\x00", False, id="end of contents"),
    ],
)
def test_is_der(octets: bytes, answer: bool) -> None:
    """The framing that DER asks, and nothing of primitive contents."""
    assert is_der(octets) is answer


def test_is_der_takes_the_greatest_depth() -> None:
    """The bound itself is still allowed; nothing recurses beyond it."""
    octets = b""
    for _ in range(MOST_DEPTH):
        octets = der.sequence(octets)
    assert is_der(octets)
    assert not is_der(der.sequence(octets))


ELEMENTS = st.recursive(
    st.integers(-1000, 1000).map(core.Integer) | st.binary(max_size=140).map(core.OctetString) | st.just(core.Null()),
    lambda children: st.lists(children, max_size=4).map(lambda these: core.SequenceOf(these, spec=core.Any)),
    max_leaves=20,
)


@given(ELEMENTS)
def test_is_der_accepts_what_asn1crypto_writes(element: core.Asn1Value) -> None:
    """An independent writer's DER is DER; in indefinite length it is not, and is read all the same."""
    octets = element.dump()
    assert is_der(octets)
    if octets[0] & 0x20:
        again = indefinite(octets, 3)
        assert not is_der(again)
        assert walk(again) == walk(octets)


def test_budget_bounds_the_number_of_elements() -> None:
    """Empty elements without end are refused before they cost time; segments of usual size never are."""
    assert element_budget(10**9) == element_budget(10**8)
    started = time.process_time()
    with pytest.raises(CmsError, match="too many"):
        Reader(b"\x24\x80" + b"\x04\x00" * 5_000_000).octet_string()
    assert time.process_time() - started < 5
    content = bytes(5_000_000)
    assert Reader(segments(content, 1000)).octet_string() == content

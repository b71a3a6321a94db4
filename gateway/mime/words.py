"""Encoded words in header fields (RFC 2047), read only.

What it does: gives the text of a header field as a person reads it, for reports and for comparing display names. What
it refuses: nothing; an encoded word that cannot be decoded stays as it is. The result may hold any character, line ends
too: whoever writes it somewhere escapes it there (:func:`gateway.mime.fields.fold_field` refuses it).
Known gap: charsets that no mail in use names.
"""

from __future__ import annotations

import binascii
import re

import pybase64

_ENCODED_WORD = re.compile(r"=\?([!-)+,\-.0-9A-Z^-~]{1,40})(?:\*[A-Za-z0-9-]{1,40})?\?([BbQq])\?([!->@-~]*)\?=")
_BLANKS = " \t\r\n"

_CHARSETS = {
    "us-ascii": "ascii",
    "ascii": "ascii",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "utf-7": "utf-7",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "hz-gb-2312": "hz",
    "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-2022-jp-2": "iso2022_jp_2",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "iso-2022-kr": "iso2022_kr",
    "koi8-r": "koi8-r",
    "koi8-u": "koi8-u",
    "tis-620": "cp874",
    "macintosh": "mac_roman",
    "ibm850": "cp850",
    "ibm866": "cp866",
    "cp866": "cp866",
}
_CHARSETS.update({f"iso-8859-{part}": f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))})
_CHARSETS.update({f"windows-{page}": f"cp{page}" for page in (874, *range(1250, 1259))})
_CHARSETS.update({f"cp{page}": f"cp{page}" for page in range(1250, 1259)})


def decode_charset(octets: bytes, charset: str) -> str | None:
    """Decode text in a charset that mail uses, what is wrong in it replaced; ``None`` for a charset not known here.

    Only charsets of this table: foreign text must not choose among all of Python's codecs, some of which are no
    charsets and take quadratic time.
    """
    codec = _CHARSETS.get(charset.lower())
    return None if codec is None else octets.decode(codec, "replace")


def decode_words(value: str) -> str:
    """Replace the encoded words of an unfolded header field value by their text (RFC 2047 4, 6).

    White space between two encoded words goes away (RFC 2047 6.2); neighbours of one charset are decoded as one, since
    writers split them within a character although RFC 2047 5 forbids it.
    """
    pieces: list[str] = []
    charset, run = "", list[bytes]()
    position = 0
    for match in _ENCODED_WORD.finditer(value):
        decoded = _decode_word(match[1], match[2], match[3])
        if decoded is None:
            continue
        between = value[position : match.start()]
        is_adjacent = position > 0 and not between.strip(_BLANKS)
        if not is_adjacent or match[1].lower() != charset:
            pieces.append(_decode_run(run, charset))
            pieces.append("" if is_adjacent else between)
            charset, run = match[1].lower(), []
        run.append(decoded)
        position = match.end()
    return "".join([*pieces, _decode_run(run, charset), value[position:]])


def _decode_run(run: list[bytes], charset: str) -> str:
    return decode_charset(b"".join(run), charset) or ""


def _decode_word(charset: str, encoding: str, text: str) -> bytes | None:
    """Undo the B or Q encoding (RFC 2047 4.1, 4.2); ``None`` where that or the charset is not possible."""
    if charset.lower() not in _CHARSETS:
        return None
    if encoding in "Qq":
        return binascii.a2b_qp(text, header=True)
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None

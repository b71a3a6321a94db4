"""Octets of mail: lines, header fields, MIME entities, canonical form, secured multiparts."""

from gateway.mime.canonical import canonical_entity, is_safe_for_signing
from gateway.mime.entity import Entity, decode_body, find_ambiguity, parse_entity, walk
from gateway.mime.fields import Field, HeaderSection, fold_field, parse_header
from gateway.mime.mailboxes import Mailbox, parse_mailboxes
from gateway.mime.parameters import ContentType, Disposition, parse_content_type, parse_disposition
from gateway.mime.search import count, find
from gateway.mime.secured import (
    SignedParts,
    build_multipart_signed,
    build_pkcs7_mime,
    encode_base64_lines,
    join_message,
    split_content_fields,
    split_multipart_signed,
)
from gateway.mime.wire import Flaw, find_flaw, to_crlf
from gateway.mime.words import decode_words

__all__ = [
    "ContentType",
    "Disposition",
    "Entity",
    "Field",
    "Flaw",
    "HeaderSection",
    "Mailbox",
    "SignedParts",
    "build_multipart_signed",
    "build_pkcs7_mime",
    "canonical_entity",
    "count",
    "decode_body",
    "decode_words",
    "encode_base64_lines",
    "find",
    "find_ambiguity",
    "find_flaw",
    "fold_field",
    "is_safe_for_signing",
    "join_message",
    "parse_content_type",
    "parse_disposition",
    "parse_entity",
    "parse_header",
    "parse_mailboxes",
    "split_content_fields",
    "split_multipart_signed",
    "to_crlf",
    "walk",
]

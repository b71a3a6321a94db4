"""The receiving agent: opens and verifies a message, layer by layer, and reports.

What it does: from the outside in, as long as the whole content of one layer is the next layer. Encrypted layers are
opened with the keys given, signed ones checked. The report tells of every layer; ``opened`` is the message without the
encrypted layers that lie outside of the first signed one. A signed layer is never touched, so an encrypted layer under
it is looked into for the report and stays closed in the message, unless the caller gives that signature up.

Standards: RFC 8551 3.9 (what is S/MIME), 2.x and 3.x (layers); RFC 2634 1.1 (triple wrapping); RFC 8601 2.7, RFC 7281
(result words). Bounded: :attr:`~gateway.limits.Limits.smime_layers` layers, each within the other limits.

Refuses: to open an encrypted part inside another multipart (a decryption oracle: somebody else's text around it would
carry the clear text out), to call a message signed because a part of it is. Never raises for what a message holds.

Known gaps: compressed-data and authEnveloped-data are reported as unsupported; layers under them stay unread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.address import Address
from gateway.errors import MimeError, WireError
from gateway.limits import DEFAULT_LIMITS, Limits
from gateway.mime import (
    Entity,
    HeaderSection,
    find_flaw,
    join_message,
    parse_entity,
    parse_header,
    split_content_fields,
    to_crlf,
)
from gateway.pkix import Certificate, PathValidator
from gateway.smime.classify import Kind, LayerView, look, nested_layers
from gateway.smime.header_protection import protected_subject, protects_header, restore_subject
from gateway.smime.identity import Sender, sender_of
from gateway.smime.model import DecryptionKey
from gateway.smime.opening import OpenedLayer, closed_layer, open_layer
from gateway.smime.report import Layer, Problem, Report
from gateway.smime.verify import Trust, VerifiedLayer, unreadable_layer, verify_layer
from gateway.smime.words import LayerType, NotOpened, ProblemCode, ResultWord


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotected:
    """The outcome of :func:`unprotect`."""

    report: Report
    opened: bytes | None = field(repr=False)
    """The whole message without its outer encrypted layers; ``None`` when none was opened."""


def unprotect(
    message: bytes,
    *,
    keys: Sequence[DecryptionKey],
    anchors: PathValidator | None,
    certificates: Sequence[Certificate] = (),
    crls: Sequence[bytes] = (),
    moment: datetime,
    limits: Limits = DEFAULT_LIMITS,
    sender: Address | None = None,
    through_signatures: bool = False,
) -> Unprotected:
    """Open and verify a message; never raises for what the message holds.

    ``keys``: only these are tried, each only where a RecipientInfo names its certificate. ``anchors``: ``None`` leaves
    every path unchecked. ``certificates``, ``crls``: further ones, beside those in the message. ``moment``: aware;
    paths are validated for it. ``sender``: the address that a signer's certificate has to name; by default the one
    address of the outer From field. ``through_signatures``: an encrypted layer under signed ones is removed too, and
    they with it. :class:`~gateway.errors.KeyMaterialError` passes when a key of ours cannot be used.
    """
    try:
        root = _read(message, limits)
    except MimeError as error:
        problem = Problem(code=ProblemCode.MALFORMED, text=f"not readable as a MIME message: {error}")
        return Unprotected(report=Report(result=ResultWord.PERMERROR, problems=(problem,)), opened=None)
    trust = Trust(
        anchors=anchors,
        certificates=tuple(certificates),
        crls=tuple(crls),
        moment=moment,
        sender=sender_of(root.header) if sender is None else Sender(address=sender),
        limits=limits,
    )
    walk = _Walk(root, keys, trust, through_signatures=through_signatures)
    walk.run()
    return Unprotected(report=walk.report(), opened=walk.opened_message(message))


def inspect(message: bytes, *, moment: datetime, limits: Limits = DEFAULT_LIMITS) -> Report:
    """Report structure and layers without any key, path or trust (``message inspect``)."""
    return unprotect(message, keys=(), anchors=None, moment=moment, limits=limits).report


def _read(message: bytes, limits: Limits) -> Entity:
    root = parse_entity(message, limits=limits)
    flaw = find_flaw(root.header.octets, max_line=None)
    if flaw is not None:
        # Where lines do not end in CRLF no field can be found: that must not look like mail without layers.
        raise MimeError(f"{flaw[0]} in the header section")
    return root


class _Walk:
    """The way from the outermost layer to the payload of one message."""

    def __init__(self, root: Entity, keys: Sequence[DecryptionKey], trust: Trust, *, through_signatures: bool) -> None:
        self._root = root
        self._keys = keys
        self._trust = trust
        self._through_signatures = through_signatures
        self._layers: list[Layer] = []
        self._problems: list[Problem] = []
        self._result: ResultWord | None = None
        self._opened: bytes | None = None
        self._payload: Entity | None = None
        self._under_signature = False
        self._stays_closed = False

    def run(self) -> None:
        """Take layer after layer."""
        entity: Entity | None = self._root
        while entity is not None:
            self._payload = entity
            view = look(entity, self._trust.limits)
            if view.kind is Kind.PLAIN:
                self._note_parts(entity)
                return
            if len(self._layers) >= self._trust.limits.smime_layers:
                self._stop_at(view)
                return
            content = self._take(view)
            entity = None if content is None else self._parse(content)

    def _stop_at(self, view: LayerView) -> None:
        """Leave a layer beyond the limit as it is."""
        self._note(ProblemCode.TOO_MANY_LAYERS, "more layers than the limit (limits.smime_layers)")
        self._stays_closed = True
        if view.kind.is_encrypted:
            self._layers.append(closed_layer(view.kind.value, NotOpened.REFUSED).layer)

    def report(self) -> Report:
        """Return what was found."""
        self._note_inner_from()
        result = ResultWord.NONE if self._result is None else self._result
        return Report(result=result, layers=tuple(self._layers), problems=tuple(self._problems))

    def opened_message(self, message: bytes) -> bytes | None:
        """Return the message without the encrypted layers that were opened and lie outside of every signed one."""
        if self._opened is None:
            return None
        limits = self._trust.limits
        outer_fields, _ = split_content_fields(message, limits)
        subject = None if self._payload is None or self._stays_closed else protected_subject(self._payload)
        if subject is not None:
            outer_fields = restore_subject(outer_fields, subject, limits)
        _, entity = split_content_fields(self._opened, limits)
        header = parse_header(entity, limits=limits)
        return join_message(outer_fields, header.octets, [entity[header.end :]])

    def _take(self, view: LayerView) -> bytes | None:
        """Take one layer off; return its content."""
        if view.kind.is_signed:
            return self._take_signed(verify_layer(view, self._trust))
        if view.kind is Kind.ENVELOPED_DATA:
            return self._take_encrypted(open_layer(view.der, view.kind.value, self._keys, self._trust.limits))
        if view.kind is Kind.AUTH_ENVELOPED_DATA:
            return self._take_encrypted(closed_layer(view.kind.value, NotOpened.UNSUPPORTED))
        if view.kind is Kind.COMPRESSED_DATA:
            self._layers.append(Layer(type=LayerType.COMPRESSED, form=view.kind.value))
            self._note(ProblemCode.UNSUPPORTED, "a compressed layer, which is not implemented")
        elif view.kind is Kind.CERTS_ONLY:
            self._layers.append(Layer(type=LayerType.CERTS_ONLY, form="signed-data"))
        else:
            self._take_malformed(view)
        return None

    def _take_signed(self, found: VerifiedLayer) -> bytes | None:
        self._layers.append(found.layer)
        self._problems.extend(found.problems)
        if self._result is None:
            self._result = found.result
        elif found.result_beside_sender is not ResultWord.PASS:
            word = found.result_beside_sender
            self._note(ProblemCode.INNER_SIGNATURE, f"a signed layer under the outermost one is {word}")
        self._under_signature = True
        return found.content

    def _take_encrypted(self, found: OpenedLayer) -> bytes | None:
        self._layers.append(found.layer)
        if self._under_signature and not self._through_signatures:
            self._stays_closed = True
            self._note(ProblemCode.ENCRYPTED_INSIDE_SIGNED, "an encrypted layer under a signed one stays as it is")
        elif self._under_signature and found.content is not None:
            self._note(ProblemCode.ENCRYPTED_INSIDE_SIGNED, "an encrypted layer was removed with the signature over it")
        if found.layer.reason is not None:
            self._note(_CODES[found.layer.reason], _TEXTS[found.layer.reason])
        elif not self._stays_closed:
            self._opened = found.content
        return found.content

    def _take_malformed(self, view: LayerView) -> None:
        if view.unsupported:
            self._note(ProblemCode.UNSUPPORTED, f"a layer that is not implemented: {view.reason}")
        if view.claim.is_signed:
            found = unreadable_layer(view.claim, view.reason)
            self._take_signed(found)
        elif view.claim.is_encrypted:
            self._take_encrypted(closed_layer(view.claim.value, NotOpened.BROKEN))
        elif not view.unsupported:
            self._note(ProblemCode.MALFORMED, f"a layer cannot be read: {view.reason}")
            if self._result is None:
                self._result = ResultWord.PERMERROR

    def _parse(self, content: bytes) -> Entity | None:
        try:
            return parse_entity(to_crlf(content), limits=self._trust.limits)
        except WireError as error:
            self._note(ProblemCode.NOT_MIME, f"the content of a layer has no certain line ends: {error.flaw}")
        except MimeError as error:
            self._note(ProblemCode.NOT_MIME, f"the content of a layer is not readable as MIME: {error}")
        self._payload = None
        return None

    def _note_parts(self, entity: Entity) -> None:
        signed, encrypted = nested_layers(entity)
        if signed:
            self._note(ProblemCode.SIGNED_PART_INSIDE, "a signed part inside, which does not cover the whole message")
        if encrypted:
            self._note(ProblemCode.ENCRYPTED_PART_INSIDE, "an encrypted part inside, which is not opened")

    def _note_inner_from(self) -> None:
        payload = self._payload
        if payload is None or payload is self._root:
            return
        inner: HeaderSection | None = payload.header if protects_header(payload) else None
        if payload.content_type.essence == "message/rfc822" and payload.children:
            inner = payload.children[0].header
        if inner is not None and inner.all("from") and sender_of(inner).address != sender_of(self._root.header).address:
            self._note(ProblemCode.INNER_FROM, "the protected From field differs from the outer one")

    def _note(self, code: ProblemCode, text: str) -> None:
        self._problems.append(Problem(code=code, text=text))


_CODES: Final = {
    NotOpened.NO_KEY: ProblemCode.NO_KEY,
    NotOpened.BROKEN: ProblemCode.BROKEN,
    NotOpened.UNSUPPORTED: ProblemCode.UNSUPPORTED,
    NotOpened.NOT_MIME: ProblemCode.NOT_MIME,
    NotOpened.REFUSED: ProblemCode.REFUSED,
}
_TEXTS: Final = {
    NotOpened.NO_KEY: "an encrypted layer for none of the keys at hand",
    NotOpened.BROKEN: "an encrypted layer that cannot be opened",
    NotOpened.UNSUPPORTED: "an encrypted layer with an algorithm that is not implemented",
    NotOpened.NOT_MIME: "the content of an encrypted layer is no MIME entity",
    NotOpened.REFUSED: "an encrypted layer that is not tried",
}

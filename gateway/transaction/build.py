"""Making and checking every outgoing message of a plan. Pure; what it needs is in its arguments.

A signature is made once and shared by every group that wants it, a content is encrypted once and shared by every
EnvelopedData over it. Each message is checked from its own octets before it may leave (law 3):
:class:`~gateway.errors.SelfCheckFailed` means that nothing leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.errors import SelfCheckFailed
from gateway.limits import Limits
from gateway.mime import find_flaw, parse_header
from gateway.smime import (
    Protectable,
    Protected,
    Sealed,
    SigningIdentity,
    assemble,
    authentication_results,
    check_enveloped,
    check_signed,
    envelop,
    opened_mark,
    seal,
    sign,
    strip_trust_marks,
)
from gateway.transaction.plan import Group, Work
from gateway.transaction.record import ActionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What is the same for every group of a transaction."""

    content: bytes = field(repr=False)
    """The message as it came, its lines checked at the door."""
    header: bytes = field(repr=False)
    """Its header section, without the empty line."""
    protectable: Protectable | None = field(repr=False)
    """The message taken apart and in canonical form, where any group protects it."""
    trace: bytes
    """Our Received field."""
    transaction: str
    moment: datetime
    authserv_id: str
    is_our_name: Callable[[str], bool] | None
    """Whether results in this name are removed; ``None`` where the client is trusted with them."""
    secret: bytes = field(repr=False)
    limits: Limits
    boundaries: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One outgoing message."""

    group: Group
    buffers: tuple[bytes, ...] = field(repr=False)
    """Its octets, lines ended by CRLF, dots not yet stuffed."""
    is_opened: bool
    """Whether it carries what this gateway has opened: only over a confidential link, with RET=HDRS."""
    actions: tuple[ActionRecord, ...]
    """What was done, for metrics and the record."""

    @property
    def size(self) -> int:
        """Octets."""
        return sum(map(len, self.buffers))


def build_all(groups: Sequence[Group], materials: Materials) -> tuple[Outgoing, ...]:
    """Build and check every outgoing message. Raises :class:`~gateway.errors.SelfCheckFailed`."""
    builder = _Builder(materials)
    return tuple(builder.build(group) for group in groups)


class _Builder:
    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._signed: dict[tuple[str, str], Protected] = {}
        self._sealed: dict[tuple[str, str], Sealed] = {}
        self._acts: list[ActionRecord] = []
        self._body = b""
        """What was handed on of the message, header section excepted."""

    def build(self, group: Group) -> Outgoing:
        self._acts = []
        work = group.work
        buffers = self._protect(work) if work.protects else self._hand_on(work)
        _check_lines([buffer for buffer in buffers if not self._is_checked(buffer, work)])
        if not buffers[-1].endswith(b"\r\n"):
            buffers.append(b"\r\n")
        return Outgoing(group=group, buffers=tuple(buffers), is_opened=work.hands_on_opened, actions=tuple(self._acts))

    def _is_checked(self, buffer: bytes, work: Work) -> bool:
        """Whether the lines of this buffer were found whole before: at the door, or when it was prepared."""
        protectable = self._materials.protectable
        if work.protects:
            return protectable is not None and protectable.is_verbatim and buffer is protectable.entity
        return not work.hands_on_opened and buffer is self._body

    def _protect(self, work: Work) -> list[bytes]:
        protectable = self._materials.protectable
        if protectable is None:
            raise SelfCheckFailed("a group protects a message that was not prepared")
        outer = self._materials.trace + self._strip(protectable.outer_fields)
        signed = self._sign(work.signer, work, outer, protectable) if work.signer else None
        if not work.certificates:
            if signed is None:
                raise SelfCheckFailed("a group protects nothing")
            return assemble(outer, signed)
        key = (work.signer.certificate.sha256 if work.signer else "", work.form.value)
        if key not in self._sealed:
            self._sealed[key] = seal(signed.buffers if signed else protectable.entity)
        sealed = self._sealed[key]
        message = assemble(outer, envelop(sealed, work.certificates))
        limits = self._materials.limits
        # The limit bounds what is read of foreign mail; here the number is ours.
        limits = replace(limits, recipient_infos=max(limits.recipient_infos, len(work.certificates)))
        check_enveloped(message, sealed, work.certificates, outer_fields=outer, limits=limits)
        self._acts.append(ActionRecord(action="encrypt", algorithm=sealed.encrypted.cipher.label, result="ok"))
        return message

    def _sign(self, signer: SigningIdentity, work: Work, outer: bytes, protectable: Protectable) -> Protected:
        form = protectable.form_for(work.form)
        key = (signer.certificate.sha256, form.value)
        if key not in self._signed:
            protected = sign(
                protectable,
                signer,
                moment=self._materials.moment,
                boundary=self._materials.boundaries(),
                form=form,
            )
            message = assemble(outer, protected)
            check_signed(message, protectable, signer, form=form, limits=self._materials.limits)
            self._signed[key] = protected
            self._acts.append(
                ActionRecord(
                    action="sign",
                    algorithm=_label(signer),
                    result="ok",
                    reason="" if protectable.is_seven_bit else "opaque",
                )
            )
        return self._signed[key]

    def _hand_on(self, work: Work) -> list[bytes]:
        materials = self._materials
        unprotected = work.unprotected
        content, own = materials.content, materials.header
        fields = [materials.trace]
        if unprotected is not None and work.reports:
            fields.append(authentication_results(materials.authserv_id, unprotected.report))
        if unprotected is not None and unprotected.opened is not None and work.hands_on_opened:
            content = unprotected.opened
            own = parse_header(content, limits=materials.limits).octets
            fields.append(opened_mark(materials.secret, materials.transaction))
        self._body = content[len(own) :]
        return [*fields, self._strip(own), self._body]

    def _strip(self, fields: bytes) -> bytes:
        materials = self._materials
        return strip_trust_marks(
            fields, authserv_id=materials.authserv_id, is_our_name=materials.is_our_name, limits=materials.limits
        )


def _label(signer: SigningIdentity) -> str:
    return f"{signer.prepared.scheme.label}-{signer.prepared.digest.label}"


def _check_lines(buffers: list[bytes]) -> None:
    """Assert the line discipline of RFC 5321 2.3.8 on what leaves, whatever made it."""
    if found := find_flaw(b"".join(buffers), max_line=None):
        raise SelfCheckFailed(f"{found[0]} in an outgoing message")

"""Treatments: nothing by which a requirement would give way can be built, in whatever way."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from gateway.address import Address
from gateway.policy import DecryptMode, NoCertificate, OnUnavailable, Requirement, SignedForm, Treatment, VerifyMode
from gateway.policy.treatment import TREATMENT_KEYS

SIGNER = Address("office@acme.example")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ({"encrypt": Requirement.REQUIRED, "sign": Requirement.REQUIRED, "no_certificate": NoCertificate.SIGN}, "no_c"),
        ({"encrypt": Requirement.REQUIRED, "no_certificate": NoCertificate.CLEAR}, "no_certificate"),
        (
            {
                "sign": Requirement.REQUIRED,
                "encrypt": Requirement.IF_POSSIBLE,
                "no_certificate": NoCertificate.CLEAR,
            },
            "no_certificate",
        ),
        ({"encrypt": Requirement.IF_POSSIBLE, "no_certificate": NoCertificate.SIGN}, "no_certificate"),
        ({"sign": Requirement.REQUIRED, "unavailable": OnUnavailable.SKIP}, "unavailable"),
        ({"encrypt": Requirement.REQUIRED, "unavailable": OnUnavailable.SKIP}, "unavailable"),
        (
            {"sign": Requirement.REQUIRED, "encrypt": Requirement.REQUIRED, "unavailable": OnUnavailable.SKIP},
            "unavailable",
        ),
        ({"decrypt": DecryptMode.REQUIRED, "unavailable": OnUnavailable.SKIP}, "unavailable"),
        ({"verify": VerifyMode.REQUIRED, "unavailable": OnUnavailable.SKIP}, "unavailable"),
        ({"sign_as": SIGNER}, "sign_as"),
        ({"sign_as": SIGNER, "encrypt": Requirement.REQUIRED}, "sign_as"),
        ({"sign": Requirement.REQUIRED, "decrypt": DecryptMode.STRICT}, "decrypt"),
        ({"encrypt": Requirement.IF_POSSIBLE, "verify": VerifyMode.REPORT}, "verify"),
    ],
)
def test_weak_treatments_cannot_be_built(written: dict[str, object], key: str) -> None:
    """Each is refused by the key that would weaken it."""
    with pytest.raises(ValueError, match=key):
        Treatment(**written)  # type: ignore[arg-type]


def test_no_combination_gives_way() -> None:
    """Of all combinations, those that can be built never let a required protection go."""
    built = 0
    for sign, encrypt, decrypt, verify, no_certificate, unavailable in itertools.product(
        Requirement, Requirement, DecryptMode, VerifyMode, NoCertificate, OnUnavailable
    ):
        try:
            treatment = Treatment(
                sign=sign,
                encrypt=encrypt,
                decrypt=decrypt,
                verify=verify,
                no_certificate=no_certificate,
                unavailable=unavailable,
            )
        except ValueError:
            continue
        built += 1
        assert not (treatment.protects and treatment.unprotects)
        if encrypt is Requirement.REQUIRED:
            assert no_certificate is NoCertificate.REFUSE
        if sign is Requirement.REQUIRED:
            assert no_certificate is not NoCertificate.CLEAR
        if unavailable is OnUnavailable.SKIP:
            assert DecryptMode.REQUIRED is not decrypt
            assert VerifyMode.REQUIRED is not verify
            assert {sign, encrypt} - {Requirement.NEVER} != {Requirement.REQUIRED}
    assert built > 30


def test_the_default_does_nothing_and_gives_way_to_nothing() -> None:
    """Silence never weakens."""
    treatment = Treatment()
    assert not treatment.protects
    assert not treatment.unprotects
    assert (treatment.no_certificate, treatment.unavailable) == (NoCertificate.REFUSE, OnUnavailable.DEFER)
    assert treatment.to_json() == {}


def test_equal_treatments_are_one_group() -> None:
    """Treatments are values: equal and hashable."""
    one = Treatment(sign=Requirement.REQUIRED, sign_as=SIGNER, form=SignedForm.OPAQUE)
    two = Treatment(sign=Requirement.REQUIRED, sign_as=Address("office@acme.example"), form=SignedForm.OPAQUE)
    assert {one: 1}[two] == 1
    assert one.to_json() == {"sign": "required", "sign_as": "office@acme.example", "form": "opaque"}


def test_every_key_is_shown() -> None:
    """JSON leaves no field out."""
    assert set(TREATMENT_KEYS) == {field.name for field in fields(Treatment)}

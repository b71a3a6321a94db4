"""Every row of EXPECTED.tsv, judged by the receiving agent.

The last column of a row is what OpenSSL said of each layer; it is compared with the report layer by layer. Rows with an
algorithm that is still to come are listed in :data:`TO_COME` with its name: such a row has to say *unsupported*, and
once it does not, this table is to be changed. :data:`NEVER` are algorithms that this gateway will not learn, whose rows
allow a refusal. Where our outcome is stricter than the row, :data:`STRICTER` says so with its reason.
"""

from __future__ import annotations

import base64
import functools
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from gateway.errors import WireError
from gateway.mime import decode_words, parse_header, to_crlf
from gateway.pkix import PathState, PathValidator, RevocationState, load_certificate
from gateway.smime import (
    DecryptionKey,
    Identity,
    Layer,
    LayerType,
    NotOpened,
    ProblemCode,
    ResultWord,
    SignatureState,
    Unprotected,
    unprotect,
)
from tests.support.corpora import CORPORA
from tests.unit.smime.agents import TestKey

pytestmark = [
    pytest.mark.corpora,
    pytest.mark.skipif(not (CORPORA / "EXPECTED.tsv").is_file(), reason=f"no corpora in {CORPORA} (SMIME_CORPORA)"),
]

THUNDERBIRD = "thunderbird-smime/smime-interop"
RFC4134 = "rfc4134"

TO_COME = {
    "rsassa-pss": ["cms-examples-ireland/binary-files/signedByAliceRSAPSS.p7m"],
    "ed25519": ["cms-examples-ireland/binary-files/signedByCarlosEd25519.p7m"],
    "rsaes-oaep": [
        "cms-examples-ireland/binary-files/encryptedForBobRSAOaep.p7m",
        f"{THUNDERBIRD}/fran-oaep-label_ossl.env",
        f"{THUNDERBIRD}/fran-oaep-sha256hash-sha256mgf_ossl.env",
        f"{THUNDERBIRD}/fran-oaep-sha256hash_ossl.env",
        f"{THUNDERBIRD}/fran-oaep_ossl.env",
        "pyca-vectors/pkcs7/enveloped-rsa-oaep.pem",
    ],
    "ecdh": [
        f"{THUNDERBIRD}/fran-ec_ossl-aes128-sha256.env",
        f"{THUNDERBIRD}/fran-ec_ossl-aes256-sha512.env",
        "openssl-cms/cms_data/ciphertext_from_1_1_1.cms",
    ],
    "compressed-data": ["asn1crypto-fixtures/cms-compressed.der", "asn1crypto-fixtures/cms-compressed.pem"],
}
"""Algorithm -> the rows that wait for it."""
NEVER = {
    "dsa": [
        *(
            f"{RFC4134}/{name}"
            for name in ("4.1.bin", "4.10.bin", "4.4.bin", "4.6.bin", "4.7.bin", "4.8.eml", "4.9.eml")
        ),
        "pkits/smime/SignedInvalidDSASignatureTest6.eml",
        "pkits/smime/SignedValidDSAParameterInheritanceTest5.eml",
        "pkits/smime/SignedValidDSASignaturesTest4.eml",
    ],
    "rc2": [f"{RFC4134}/5.2.bin"],
    "md4": ["openssl-cms/cms_data/pkcs7-md4.pem"],
    "another CMS content type": [
        *(f"{RFC4134}/{name}" for name in ("3.1.bin", "3.2.bin", "6.0.bin", "7.1.bin", "7.2.bin")),
        *(
            f"asn1crypto-fixtures/cms-{name}"
            for name in ("digested.der", "digested.pem", "encrypted.der", "encrypted.pem")
        ),
    ],
}
STRICTER = {
    "attack-johnny/04-id/i2-display-name-confusion/i2-from-contains-signer-smime.eml":
        "the certificate does name From; ambiguous, since a display name hides it and answers go to somebody else",
}  # fmt: skip
"""Why a row is flagged that a comparison of From with the certificate alone would pass."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table."""

    file: str
    kind: str
    signer: str
    expected: str
    openssl: str

    @property
    def folder(self) -> str:
        return self.file.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a corpus is judged with."""

    anchors: Sequence[str] = ()
    keys: Sequence[tuple[str, str, str]] = ()
    """Certificate, private key, password; a PKCS#12 is both."""
    moment: datetime = datetime(2026, 6, 1, tzinfo=UTC)
    crls: Sequence[str] = field(default=())


IRELAND = "cms-examples-ireland/certs-and-keys/lamps-bob"
COVERT = "attack-covert-content/assets/secret-keys/manager@bigcorporation"
SETUPS: Mapping[str, Setup] = {
    "rfc9788-hp": Setup(
        anchors=["rfc9216/ca.rsa.crt.pem"],
        keys=[(f"rfc9216/{name}.encrypt.crt.pem", f"rfc9216/{name}.decrypt.key.pem", "") for name in ("bob", "alice")],
    ),
    "protected-headers-draft03": Setup(
        anchors=["protected-headers-draft03/sample-ca.pem"],
        keys=[("protected-headers-draft03/bob.p12", "protected-headers-draft03/bob.p12", "bob")],
    ),
    "cms-examples-ireland": Setup(
        anchors=["rfc9216/ca.rsa.crt.pem", "rfc9216/ca.25519.crt.pem"],
        keys=[(f"{IRELAND}.encrypt.crt", f"{IRELAND}.decrypt.p8.pem", "")],
    ),
    "rfc4134": Setup(
        anchors=["rfc4134/CarlRSASelf.cer", "rfc4134/CarlDSSSelf.cer"],
        keys=[("rfc4134/BobRSASignByCarl.cer", "rfc4134/BobPrivRSAEncrypt.pri", "")],
    ),
    "openssl-cms": Setup(
        anchors=["openssl-cms/smime-certs/smroot.pem", "openssl-cms/certs/pkitsta.pem"],
        keys=[("openssl-cms/smime-certs/smec3.pem", "openssl-cms/smime-certs/smec3.pem", "")],
        moment=datetime(2025, 6, 1, tzinfo=UTC),
    ),
    "thunderbird-smime": Setup(
        anchors=["thunderbird-smime/smime/TestCA.pem"],
        keys=[
            (f"thunderbird-smime/{name}.p12", f"thunderbird-smime/{name}.p12", "nss")
            for name in ("smime/Bob", "smime-interop/Fran", "smime-interop/Fran-ec")
        ],
    ),
    "attack-johnny": Setup(
        anchors=["attack-johnny/assets/certificates/intermediate_ca.crt"], moment=datetime(2019, 4, 30, tzinfo=UTC)
    ),
    "attack-covert-content": Setup(
        keys=[(f"{COVERT}.crt", f"{COVERT}.key", "test12345678")], moment=datetime(2019, 4, 30, tzinfo=UTC)
    ),
    "james-smime": Setup(anchors=["james-smime/rootCA.crt"], moment=datetime(2024, 9, 1, tzinfo=UTC)),
    "sympa-smime": Setup(anchors=["sympa-smime/pki/crt/ca.pem"]),
    "asn1crypto-fixtures": Setup(
        anchors=["asn1crypto-fixtures/keys/test.crt"],
        keys=[("asn1crypto-fixtures/keys/test.crt", "asn1crypto-fixtures/keys/test.key", "")],
    ),
    "pyca-vectors": Setup(
        keys=[("pyca-vectors/x509/custom/ca/rsa_ca.pem", "pyca-vectors/x509/custom/ca/rsa_key.pem", "")]
    ),
    "pkits": Setup(anchors=["pkits/certs/TrustAnchorRootCertificate.crt"], moment=datetime(2020, 1, 1, tzinfo=UTC)),
}


def rows() -> list[Row]:
    path = CORPORA / "EXPECTED.tsv"
    if not path.is_file():
        return []
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return [
        Row(file=cells[0], kind=cells[1], signer=cells[2], expected=cells[3], openssl=cells[4]) for cells in lines[1:]
    ]


ROWS = rows()
WAITING = {file: name for table in (TO_COME, NEVER) for name, files in table.items() for file in files}


@functools.cache
def decryption_key(certificate_file: str, key_file: str, password: str) -> DecryptionKey:
    certificate, octets = (CORPORA / certificate_file).read_bytes(), (CORPORA / key_file).read_bytes()
    secret = password.encode() or None
    if key_file.endswith(".p12"):
        armoured = re.search(rb"-----BEGIN PKCS12-----(.*?)-----END", octets, re.DOTALL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # NSS writes PKCS#12 in BER
            bundle = base64.b64decode(armoured[1]) if armoured else octets
            key, found, _ = pkcs12.load_key_and_certificates(bundle, secret)
        assert isinstance(found, x509.Certificate)
        certificate = found.public_bytes(Encoding.DER)
    else:
        key = (load_pem_private_key if b"-----BEGIN" in octets else load_der_private_key)(octets, secret)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return DecryptionKey(certificate=load_certificate(certificate), key=TestKey(key))


@functools.cache
def validator(folder: str) -> PathValidator:
    files = SETUPS[folder].anchors if folder in SETUPS else ()
    return PathValidator([load_certificate((CORPORA / file).read_bytes()) for file in files])


def message_of(row: Row) -> bytes:
    """The message as it was on the wire; a bare CMS object is put into one."""
    path = CORPORA / row.file
    octets = path.read_bytes()
    if path.suffix in (".bin", ".p7m", ".p7b", ".der", ".pem", ".cms") and not octets.startswith(b"MIME-Version"):
        armoured = re.search(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", octets, re.DOTALL)
        der = base64.b64decode(armoured[1]) if armoured else octets
        sender = f"From: {row.signer or 'nobody@smime.example'}\r\n".encode()
        head = sender + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        return head + base64.encodebytes(der).replace(b"\n", b"\r\n")
    if octets.startswith(b"From "):
        octets = octets.partition(b"\n")[2]
    try:
        return to_crlf(octets)
    except WireError:
        # OpenSSL writes its own lines with LF and the signed part with CRLF; SMTP would have made all of them CRLF.
        return re.sub(rb"\r?\n", b"\r\n", octets)


def judged(row: Row) -> Unprotected:
    setup = SETUPS.get(row.folder, Setup())
    return unprotect(
        message_of(row),
        keys=[decryption_key(*key) for key in setup.keys],
        anchors=validator(row.folder),
        moment=setup.moment,
    )


def says_unsupported(found: Unprotected) -> bool:
    states = [signer.state for layer in found.report.layers for signer in layer.signers]
    return SignatureState.UNSUPPORTED in states or ProblemCode.UNSUPPORTED in found.report.codes


def is_right(layer: Layer) -> bool:
    return bool(layer.signers) and all(signer.intact and signer.valid for signer in layer.signers)


def with_ids(chosen: Sequence[Row]) -> list[object]:
    return [pytest.param(row, id=row.file) for row in chosen]


def by_folder(*folders: str) -> list[Row]:
    return [row for row in ROWS if row.folder in folders]


SPECIAL = ("pkits", "attack-mime-ambiguity", "attack-smtp-smuggling")
LAYERED = [row for row in ROWS if row.folder not in SPECIAL and row.file not in WAITING]


@pytest.mark.parametrize("row", with_ids(LAYERED))
def test_layers(row: Row) -> None:
    """Layer by layer what OpenSSL said: signature, path, opened or not."""
    found = judged(row)
    assert not says_unsupported(found), found.report.to_json()
    if not re.search("(sig|chain|decrypt)-(ok|FAIL)", row.openssl):
        assert found.report.result in (ResultWord.NONE, ResultWord.PERMERROR)
        assert found.opened is None
        return
    said = row.openssl.split(" > ")
    if said[0].startswith("nested-in-"):
        assert found.report.result is ResultWord.NONE
        assert found.report.layers == ()
        assert found.report.codes & {ProblemCode.SIGNED_PART_INSIDE, ProblemCode.ENCRYPTED_PART_INSIDE}
        return
    layers = found.report.layers
    for number, verdict in enumerate(said):
        check_layer(row, verdict, layers[number] if number < len(layers) else None)
    assert found.opened is None or layers[0].type is LayerType.ENCRYPTED


def check_layer(row: Row, verdict: str, layer: Layer | None) -> None:
    if "sig-ok" in verdict:
        assert layer is not None
        assert is_right(layer), layer
    elif "sig-FAIL" in verdict:
        assert layer is None or not is_right(layer), layer
    if "chain-ok" in verdict:
        assert layer is not None
        states = {signer.path for signer in layer.signers}
        assert states == {path_of(row)}, layer
    if "decrypt-ok" in verdict:
        assert layer is not None
        assert layer.opened or layer.reason is NotOpened.NOT_MIME, layer
    elif "decrypt-FAIL" in verdict:
        assert layer is not None
        assert not layer.opened


def path_of(row: Row) -> PathState:
    """The path's word where OpenSSL was told to look neither at the time nor at key sizes and policies."""
    if row.folder == "rfc4134" or "MappingFromanyPolicy" in row.file:
        return PathState.POLICY
    return PathState.EXPIRED if "expired" in row.expected else PathState.VALID


@pytest.mark.parametrize("row", with_ids(LAYERED))
def test_result(row: Row) -> None:
    """Pass where everything is right and the signer is the sender; never where the row says otherwise."""
    found = judged(row)
    first = next((verdict for verdict in row.openssl.split(" > ") if "sig-" in verdict), "")
    is_weak = re.search("SHA-1|weak|expired|INVALID|not the sender|NOT signed|certificate bundle", row.expected)
    is_whole = "nested-in" not in row.openssl
    if "sig-ok,chain-ok" in first and is_whole and row.kind != "attack" and (not is_weak or "inside" in row.kind):
        weak = re.search("SHA-1", row.expected) is not None or path_of(row) is not PathState.VALID
        assert found.report.result is (ResultWord.POLICY if weak else ResultWord.PASS), found.report.to_json()
    else:
        self_signed = row.folder == "asn1crypto-fixtures" and "valid (" in row.expected
        assert self_signed or found.report.result is not ResultWord.PASS


@pytest.mark.parametrize("row", with_ids([row for row in by_folder("attack-johnny") if "identity" in row.expected]))
def test_identity_is_flagged(row: Row) -> None:
    """A perfect signature of somebody else."""
    found = judged(row)
    assert found.report.signed is not None
    (signer,) = found.report.signed.signers
    assert (signer.intact, signer.valid, signer.path) == (True, True, PathState.VALID)
    assert signer.identity is not Identity.MATCH
    if row.file in STRICTER:
        assert signer.identity is Identity.AMBIGUOUS


@pytest.mark.parametrize("row", with_ids(by_folder("pkits")))
def test_pkits(row: Row) -> None:
    """The whole message gives the path that the suite says, by the CRLs it carries."""
    found = judged(row)
    assert found.report.signed is not None
    (signer,) = found.report.signed.signers
    assert (signer.intact, signer.valid) == ((True, True) if row.file not in WAITING else (False, False))
    holds = signer.path is PathState.VALID and signer.revocation is RevocationState.GOOD
    assert holds is ("path VALID" in row.expected and row.file not in WAITING), signer


@pytest.mark.parametrize("row", with_ids(by_folder("attack-mime-ambiguity", "attack-smtp-smuggling")))
def test_no_layers_in_ambiguous_mail(row: Row) -> None:
    """No exception, no layer, nothing opened; what has no certain lines is permerror."""
    found = unprotect((CORPORA / row.file).read_bytes(), keys=(), anchors=validator(""), moment=Setup().moment)
    assert found.report.result in (ResultWord.NONE, ResultWord.PERMERROR)
    assert found.report.layers == ()
    assert found.opened is None


@pytest.mark.parametrize("row", with_ids([row for row in ROWS if row.file in WAITING]))
def test_what_is_still_to_come(row: Row) -> None:
    """Said to be unsupported, never broken or wrong."""
    found = judged(row)
    assert says_unsupported(found), found.report.to_json()
    assert found.report.result in (ResultWord.NEUTRAL, ResultWord.NONE)
    assert found.opened is None


@pytest.mark.skipif(not ROWS, reason="no table")
def test_every_row_is_judged() -> None:
    """None is left out, and none waits that is not in the table."""
    files = Counter(row.file for row in ROWS)
    assert set(WAITING) <= set(files)
    assert max(files.values()) == 1
    assert {name: len(files) for name, files in TO_COME.items()} == {
        "rsassa-pss": 1,
        "ed25519": 1,
        "rsaes-oaep": 6,
        "ecdh": 3,
        "compressed-data": 2,
    }


HIDDEN = [row for row in by_folder("rfc9788-hp", "protected-headers-draft03") if row.kind.startswith("encrypted")]


@pytest.mark.parametrize("row", with_ids(HIDDEN))
def test_protected_subject(row: Row) -> None:
    """The Subject of the payload stands in the opened message, octet for octet."""
    found = judged(row)
    assert found.opened is not None
    outer = parse_header(message_of(row)).all("subject")
    restored = parse_header(found.opened).all("subject")
    assert len(restored) == 1
    assert decode_words(outer[0].value) in ("[...]", "...")
    payload = to_crlf(payload_file(row).read_bytes())
    assert restored[0].octets == parse_header(payload).all("subject")[0].octets


def payload_file(row: Row) -> Path:
    """Where the corpus keeps what is inside all layers."""
    path = CORPORA / row.file
    if row.folder == "rfc9788-hp":
        return path.parent / "payload" / f"{path.stem}.mime"
    return path.parent / f"{path.stem}.inner.inner" if row.kind == "encrypted+signed" else path.with_suffix(".inner")

"""The settings: what loads, what is refused and where, and that docs/settings.md says what the models do."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gateway.documents import read_document
from gateway.errors import ConfigurationError, Problem
from gateway.limits import DEFAULT_LIMITS
from gateway.settings import ClientKind, Endpoint, Listener, ListenerTlsMode, Settings, UpstreamTlsMode, parse_settings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"

SKETCH = """\
identity: {hostname: gw1.acme.example, authserv_id: smime.gw1.acme.example}
internal: {domains: [acme.example], aliases: aliases.csv}
listeners:
  users:  {listen: "[::]:587", client: user, tls: {mode: required, certificate: tls.pem},
           sender_proof: {auth: relay, logins: senders.csv}, upstream: submission}
  border: {listen: "127.0.0.1:10025", client: queueing, trust: [authentication-results, xforward],
           bare_newline: refuse, upstream: mailboxes}
upstreams:
  submission: {hosts: ["mta.acme.example:587"], tls: verified}
  mailboxes:  {hosts: ["127.0.0.1:10026"], tls: none}
reports: {upstream: mailboxes}
limits: {message: 50MiB, in_flight: 512MiB, lookups: 8s}
keys: [{folder: keys/}]
certificates: [{folder: partners/}]
anchors: {default: anchors/}
policies: policies/
metrics: {listen: "127.0.0.1:9090"}
"""

MINIMAL = """\
identity: {hostname: gw1.acme.example}
internal: {domains: [acme.example]}
listeners:
  users:
    listen: "127.0.0.1:0"
    upstream: mta
upstreams:
  mta:
    hosts: ["127.0.0.1:10026"]
    tls: none
policies: policies/
"""


def parse(text: str) -> Settings:
    return parse_settings(text, "etc/gateway.yaml")


def problems_of(text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigurationError) as raised:
        parse(text)
    return [(problem.line, problem.key, problem.text) for problem in raised.value.problems]


def in_listener(*lines: str) -> str:
    return MINIMAL.replace("    upstream: mta\n", "".join(f"    {line}\n" for line in ("upstream: mta", *lines)))


def in_upstream(*lines: str) -> str:
    return MINIMAL.replace("    tls: none\n", "".join(f"    {line}\n" for line in ("tls: none", *lines)))


def test_sketch_loads_but_for_what_is_not_built() -> None:
    """Of the design's example only AUTH, its logins and XFORWARD are refused, each by name."""
    assert [(line, key) for line, key, _ in problems_of(SKETCH)] == [
        (5, "listeners.users.sender_proof.auth"),
        (5, "listeners.users.sender_proof.logins"),
        (6, "listeners.border.trust.1"),
    ]
    assert all("not supported yet" in text for _, _, text in problems_of(SKETCH))
    settings = parse(SKETCH.replace("auth: relay, logins: senders.csv", "").replace(", xforward", ""))
    users, border = settings.listeners["users"], settings.listeners["border"]
    assert users.listen == Endpoint("::", 587)
    assert users.tls.mode is ListenerTlsMode.REQUIRED
    assert (users.deadline_seconds, border.deadline_seconds) == (50, 90)
    assert border.client is ClientKind.QUEUEING
    assert border.trust == ("authentication-results",)
    assert settings.upstreams["submission"].hosts == (Endpoint("mta.acme.example", 587),)
    assert settings.upstreams["submission"].tls is UpstreamTlsMode.VERIFIED
    assert settings.reports is not None
    assert settings.reports.upstream == "mailboxes"
    assert [str(one.folder) for one in settings.keys] == ["keys"]
    assert settings.authserv_id == "smime.gw1.acme.example"


def test_defaults() -> None:
    """The smallest file: every default is the careful one."""
    settings = parse(MINIMAL)
    users, mta = settings.listeners["users"], settings.upstreams["mta"]
    assert settings.authserv_id == "gw1.acme.example"
    assert (users.tls.mode, users.hide_client, users.bare_newline) == (ListenerTlsMode.NONE, False, "refuse")
    assert (users.sender_proof.networks, users.sender_proof.client_certificates, users.trust) == ((), (), ())
    assert (mta.trusted_link, mta.connections, mta.connections_per_transaction) == (False, 20, 4)
    assert (mta.timeouts.connect, mta.timeouts.reply, mta.timeouts.final) == (30, 300, 600)
    assert settings.limits.to_limits() == DEFAULT_LIMITS
    assert (settings.reports, settings.anchors, settings.metrics) == (None, None, None)
    assert (settings.workers, settings.drain, settings.journal.kept, settings.records.kept) == (1, 30, 432000, 2592000)


def test_every_limit_reaches_the_parsers() -> None:
    """to_limits leaves none out and mixes none up."""
    names = {
        "message": "message_octets",
        "header": "header_octets",
        "received": "received_fields",
        "visits": "own_visits",
    }
    text = MINIMAL + "limits:\n"
    expected: dict[str, int] = {}
    for number, name in enumerate(type(parse(MINIMAL).limits).model_fields):
        if name in ("in_flight", "lookups"):
            continue
        is_size = name in ("message", "header")
        value = 100 * 1024 if is_size else {"mime_depth": 77, "smime_layers": 7, "visits": 9}.get(name, 100 + number)
        text += f"  {name}: {value}{'B' if is_size else ''}\n"
        expected[names.get(name, name)] = value
    limits = parse(text).limits.to_limits()
    assert {name: getattr(limits, name) for name in limits.__dataclass_fields__} == expected


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("127.0.0.1:25", Endpoint("127.0.0.1", 25)),
        ("[::1]:10025", Endpoint("::1", 10025)),
        ("localhost:0", Endpoint("localhost", 0)),
        ("mail-1.acme_x.example:65535", Endpoint("mail-1.acme_x.example", 65535)),
    ],
)
def test_endpoints(written: str, endpoint: Endpoint) -> None:
    """host:port and [address]:port; written back as it came."""
    settings = parse(MINIMAL.replace("127.0.0.1:0", written))
    assert settings.listeners["users"].listen == endpoint
    assert str(endpoint) == written


@pytest.mark.parametrize(
    "written", ["25", ":25", "::1:25", "a:", "a:70000", "a:-1", "[a b]:1", "a b:1", "[::1]", "http://a:1", "٣:1", "a:٣"]
)
def test_no_endpoints(written: str) -> None:
    """Anything else is refused; an IPv6 address needs its brackets."""
    ((line, key, text),) = problems_of(MINIMAL.replace("127.0.0.1:0", written))
    assert (line, key) == (5, "listeners.users.listen")
    assert "expected host:port" in text


CROSS = [
    pytest.param(
        MINIMAL.replace("upstream: mta", "upstream: mat"),
        (6, "listeners.users.upstream", "there is no upstream 'mat'; did you mean 'mta'?"),
        id="unknown upstream",
    ),
    pytest.param(
        MINIMAL + "reports:\n  upstream: elsewhere\n",
        (13, "reports.upstream", "there is no upstream 'elsewhere'; known: mta"),
        id="unknown upstream of reports",
    ),
    pytest.param(
        in_listener("tls:", "  mode: required"),
        (7, "listeners.users.tls", "tls.mode: required needs tls.certificate"),
        id="TLS without certificate",
    ),
    pytest.param(
        in_listener("tls:", "  mode: none", "  certificate: x.pem"),
        (9, "listeners.users.tls.certificate", "has no use with tls.mode: none"),
        id="certificate without TLS",
    ),
    pytest.param(
        in_listener("sender_proof:", "  client_certificates: [any]"),
        (8, "listeners.users.sender_proof.client_certificates", "needs tls.client_ca"),
        id="client certificates that nobody verifies",
    ),
    pytest.param(
        in_listener(
            "tls: {mode: required, certificate: a.pem, client_ca: ca.pem}",
            "sender_proof:",
            f"  client_certificates: [any, '{'ab' * 32}']",
        ),
        (9, "listeners.users.sender_proof.client_certificates", "'any' stands alone"),
        id="any and fingerprints",
    ),
    pytest.param(
        in_upstream("ca: ca.pem"), (11, "upstreams.mta.ca", "is looked at only with tls: verified"), id="CA not used"
    ),
    pytest.param(
        in_upstream("connections: 2", "connections_per_transaction: 3"),
        (12, "upstreams.mta.connections_per_transaction", "larger than connections"),
        id="more connections than there are",
    ),
    pytest.param(
        MINIMAL.replace("127.0.0.1:0", "127.0.0.1:10026"),
        (9, "upstreams.mta.hosts.0", "127.0.0.1:10026 is our own listener 'users': a mail loop"),
        id="upstream is ourselves",
    ),
    pytest.param(
        MINIMAL + "limits: {in_flight: 10MiB}\n",
        (12, "limits.in_flight", "smaller than limits.message: no such message could be taken"),
        id="memory below one message",
    ),
    pytest.param(
        MINIMAL.replace("127.0.0.1:0", "127.0.0.1:25") + "metrics: {listen: '127.0.0.1:25'}\n",
        (12, "metrics.listen", "127.0.0.1:25 is taken by a listener"),
        id="metrics on a listener",
    ),
]


@pytest.mark.parametrize(("text", "problem"), CROSS)
def test_checks_across_keys(text: str, problem: tuple[int, str, str]) -> None:
    """What single values do not tell is checked too, with the line of the key that is wrong."""
    assert problems_of(text) == [problem]


def test_two_listeners_on_one_address() -> None:
    """Both are named; on port 0 the system gives each its own."""
    text = MINIMAL.replace("listeners:\n", "listeners:\n  other: {listen: '127.0.0.1:0', upstream: mta}\n")
    assert len(parse(text).listeners) == 2
    found = problems_of(text.replace("127.0.0.1:0", "127.0.0.1:25"))
    assert [key for _, key, _ in found] == ["listeners.other.listen", "listeners.users.listen"]


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        pytest.param(in_listener("bare_newline: repair"), "bare_newline", "'repair' is not supported yet", id="repair"),
        pytest.param(in_listener("trust: [xforward]"), "trust.0", "'xforward' is not supported yet", id="xforward"),
        pytest.param(in_listener("trust: [received]"), "trust.0", "not one of", id="other trust"),
        pytest.param(in_listener("sender_proof: {auth: relay}"), "sender_proof.auth", "not supported yet", id="auth"),
        pytest.param(in_listener("sender_proof: {auth: x}"), "sender_proof.auth", "not one of relay", id="other auth"),
        pytest.param(
            in_listener("sender_proof: {networks: [0.0.0.0/0]}"), "sender_proof.networks.0", "every address", id="all"
        ),
        pytest.param(
            in_listener("sender_proof: {networks: ['::/0']}"), "sender_proof.networks.0", "every address", id="all v6"
        ),
        pytest.param(
            in_listener("sender_proof: {networks: [10.0.0.1/8]}"),
            "sender_proof.networks.0",
            "host bits",
            id="host bits",
        ),
        pytest.param(
            in_listener("sender_proof: {networks: [10]}"), "sender_proof.networks.0", "like 10.0.0.0/8", id="number"
        ),
        pytest.param(
            in_listener("sender_proof: {client_certificates: [abc]}"),
            "sender_proof.client_certificates.0",
            "SHA-256",
            id="fingerprint",
        ),
        pytest.param(in_listener("sender_proof:"), "sender_proof", "not nothing", id="empty proof"),
        pytest.param(in_listener("deadline: 1s"), "deadline", "greater than or equal to 5", id="deadline too short"),
        pytest.param(in_listener("deadline: 10m"), "deadline", "less than or equal to 540", id="deadline too long"),
        pytest.param(in_listener("sessions: 0"), "sessions", "greater than", id="no sessions"),
        pytest.param(in_listener("hide_client: yes"), "hide_client", "true or false", id="yes"),
        pytest.param(in_listener("client: users"), "client", "did you mean 'user'", id="client"),
    ],
)
def test_listener_values(text: str, key: str, words: str) -> None:
    """Values of a listener that are refused."""
    ((_, found, said),) = problems_of(text)
    assert found == f"listeners.users.{key}"
    assert words in said


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        pytest.param(
            MINIMAL.replace('"127.0.0.1:10026"', '"a:1", "b:1"'),
            "upstreams.mta.hosts",
            "several hosts are not supported yet",
            id="several hosts",
        ),
        pytest.param(
            MINIMAL.replace('"127.0.0.1:10026"', ""), "upstreams.mta.hosts", "must not be empty", id="no host"
        ),
        pytest.param(MINIMAL.replace("10026", "0"), "upstreams.mta.hosts.0", "port 0", id="port 0"),
        pytest.param(MINIMAL.replace("gw1.acme.example", "gw 1"), "identity.hostname", "domain name", id="hostname"),
        pytest.param(
            MINIMAL.replace("[acme.example]", "['*.*.acme.example']"), "internal.domains.0", "domain", id="two stars"
        ),
        pytest.param(MINIMAL.replace("[acme.example]", "[]"), "internal.domains", "must not be empty", id="no domain"),
        pytest.param(
            MINIMAL.replace("example}", "example, authserv_id: 'a; b'}"),
            "identity.authserv_id",
            "match",
            id="authserv_id",
        ),
        pytest.param(MINIMAL.replace("  users:", "  us ers:"), "listeners.us ers", "a name has", id="name"),
        pytest.param(MINIMAL + "state:\n", "state", "expected a path, not nothing", id="empty path"),
        pytest.param(MINIMAL + "workers: 0\n", "workers", "greater than", id="no worker"),
        pytest.param(MINIMAL + "limits: {recipients: 99}\n", "limits.recipients", "100", id="RFC 5321 4.5.3.1.8"),
        pytest.param(MINIMAL + "limits: {received: 99}\n", "limits.received", "100", id="RFC 5321 6.3"),
        pytest.param(MINIMAL + "policys: x\n", "policys", "did you mean 'policies'", id="unknown key"),
    ],
)
def test_other_values(text: str, key: str, words: str) -> None:
    """Values of other sections that are refused."""
    ((_, found, said),) = problems_of(text)
    assert found == key
    assert words in said


def test_empty_file_names_what_is_missing() -> None:
    """An empty file is not a gateway with defaults."""
    assert [key for _, key, _ in problems_of("")] == ["identity", "internal", "listeners", "upstreams", "policies"]
    assert [
        key for _, key, _ in problems_of(MINIMAL.split("listeners")[0] + "listeners: {}\nupstreams: {}\npolicies: p")
    ]


def test_values_are_normal() -> None:
    """Case and colons do not matter where they carry no meaning."""
    settings = parse(
        in_listener(
            "tls: {mode: offered, certificate: a.pem, client_ca: ca.pem}",
            f"sender_proof: {{networks: [10.0.0.0/8, 'fd00::/8'], client_certificates: ['{':'.join(['AB'] * 32)}']}}",
        ).replace("[acme.example]", "[Acme.Example, '*.Acme.Example']")
    )
    proof = settings.listeners["users"].sender_proof
    assert proof.networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert proof.client_certificates == ("ab" * 32,)
    assert settings.internal.domains == ("acme.example", "*.acme.example")


def test_paths_start_at_the_file() -> None:
    """Relative paths do not depend on where the program was started."""
    settings = parse(MINIMAL + "state: /var/lib/gw\n")
    assert settings.policies == Path("policies")
    assert settings.resolve(settings.policies) == Path("etc/policies")
    assert settings.resolve(settings.state) == Path("/var/lib/gw")


def test_problems_found_later_have_their_line() -> None:
    """Who loads a folder reports it at the key that names it."""
    settings = parse(MINIMAL + "keys:\n  - folder: a\n  - folder: b\n")
    assert settings.problem(("keys", 1, "folder"), "no such folder") == Problem(
        file="etc/gateway.yaml", line=14, key="keys.1.folder", text="no such folder"
    )
    assert settings.problem(("state",), "cannot be written").line == 1
    built = Settings(
        identity=settings.identity,
        internal=settings.internal,
        listeners=settings.listeners,
        upstreams=settings.upstreams,
        policies=settings.policies,
    )
    assert built.problem(("state",), "x") == Problem(file="", line=None, key="state", text="x")


def test_listener_built_in_code() -> None:
    """Tests and tools build settings from values."""
    listener = Listener(listen=Endpoint("::1", 0), upstream="mta", deadline=20)
    assert listener.listen == Endpoint("::1", 0)
    assert listener.deadline_seconds == 20


def test_settings_are_immutable() -> None:
    """A reload makes new settings, nobody changes the old ones."""
    with pytest.raises(ValidationError, match="frozen"):
        parse(MINIMAL).workers = 3  # type: ignore[misc]


def test_json_schema_can_be_made() -> None:
    """Editors can be given a schema."""
    schema = Settings.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["LimitSettings"]["properties"]["message"]["type"] == "string"


def test_import_is_light() -> None:
    """Importing the settings loads neither the YAML reader nor anything of the upper rooms."""
    code = "import sys, gateway.settings; print(*sorted(name for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"ruamel", "difflib", "asyncio", "cryptography", "asn1crypto", "sqlalchemy", "rich", "aiosmtpd"}
    assert not heavy & set(loaded)
    allowed = {"address", "documents", "errors", "limits", "settings"}
    assert {name.split(".")[1] for name in loaded if name.startswith("gateway.")} <= allowed


@given(st.text(alphabet="abil:{}[]\n \"'0", max_size=80), st.integers(0, len(SKETCH)))
def test_any_text_gives_settings_or_a_configuration_error(noise: str, position: int) -> None:
    """A sketch with noise in it: nothing but our own exception comes out."""
    try:
        parse(SKETCH[:position] + noise + SKETCH[position:])
    except ConfigurationError as error:
        problems = error.problems
    assert problems  # the sketch itself does not load


# -- docs/settings.md -------------------------------------------------------------------------------------------------


def walk(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key of the settings that holds a value, as the documentation writes it."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if get_origin(annotation) is dict:
            yield from walk(get_args(annotation)[1], f"{prefix}{name}.NAME.")
            continue
        models = [
            one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        if not models:
            yield prefix + name, field
        elif get_origin(annotation) is tuple:
            yield from walk(models[0], f"{prefix}{name}[].")
        else:
            yield from walk(models[0], f"{prefix}{name}.")


def documented() -> dict[str, str]:
    """Read key and default of every row of the tables."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len({key for key, _ in rows})
    return dict(rows)


def test_docs_and_models_have_the_same_keys() -> None:
    """Every key is documented, and everything documented is a key."""
    assert set(documented()) == {key for key, _ in walk(Settings)}


@pytest.mark.parametrize(("key", "field"), [pytest.param(key, field, id=key) for key, field in walk(Settings)])
def test_docs_and_models_have_the_same_defaults(key: str, field: FieldInfo) -> None:
    """The default in the documentation, written into a file, gives the default of the model."""
    written = documented()[key]
    if field.is_required():
        assert written == "required"
    elif field.default is None:
        assert written.startswith("—")
    else:
        value = read_document(f"key: {written.strip('`')}", "docs").data
        assert isinstance(value, dict)
        adapter: TypeAdapter[object] = TypeAdapter(Annotated[field.annotation, None, *field.metadata])  # type: ignore[arg-type]
        assert adapter.validate_python(value["key"]) == field.default


def test_the_example_in_the_docs_loads() -> None:
    """What people copy works."""
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert parse(example).reports is not None

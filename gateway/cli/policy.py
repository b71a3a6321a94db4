"""``policy``: ask the rules, and run their decision tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.load import load_policy, load_settings, read_text
from gateway.cli.files import Usage, parse_address, read_mail
from gateway.limits import DEFAULT_LIMITS
from gateway.policy import (
    DomainSet,
    EnvelopeFacts,
    Facts,
    MessageFacts,
    direction_of,
    explain,
    find_unhit,
    is_cases_file,
    is_policy_file,
    parse_cases,
    parse_policies,
    run_cases,
)
from gateway.settings import Settings
from gateway.transaction.examine import examine

app = typer.Typer(no_args_is_help=True, help="Explain and test policies.")


@app.command("explain")
def explain_command(
    config: Annotated[Path, typer.Option("-c", "--config", help="The settings file.", metavar="FILE")],
    sender: Annotated[str, typer.Option("--from", help="The reverse-path; <> is the null one.")],
    to: Annotated[list[str], typer.Option(help="A recipient (repeat).")],
    header: Annotated[list[str] | None, typer.Option(help="A header field, 'Subject: x' (repeat).")] = None,
    message: Annotated[Path | None, typer.Option(help="Take header, size and kind from this message.")] = None,
    listener: Annotated[str | None, typer.Option(help="The listener; the first one without.")] = None,
    proven: Annotated[bool, typer.Option(help="Whether the sender is proven.")] = True,
    tls: Annotated[bool, typer.Option(help="Whether the session is under TLS.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show, for each recipient, which rule decides and why. Status 0: everything decided, 1: a fact is missing."""
    settings = load_settings(config)
    policy = load_policy(settings)
    names = list(settings.listeners)
    if listener is not None and listener not in names:
        raise Usage(f"--listener {listener}: the settings have {', '.join(names)}")
    facts = _message_facts(settings, header or [], message)
    explanations = [
        explain(policy, _facts(settings, sender, one, listener or names[0], facts, proven=proven, tls=tls))
        for one in to
    ]
    if as_json:
        print(json.dumps({"recipients": [one.to_json() for one in explanations]}, indent=2))
    else:
        print("\n".join(line for one in explanations for line in one.lines()))
    raise typer.Exit(0 if all(one.decision for one in explanations) else 1)


@app.command("test")
def run_tables_command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Policy folders or files; ./policies without.")] = None,
) -> None:
    """Run the decision tables beside the policies. Status 0: all pass, 1: not."""
    failures = 0
    total = 0
    for path in paths or [Path("policies")]:
        failed, ran = _run_tables(path)
        failures += failed
        total += ran
    print(f"{total - failures} passed, {failures} failed")
    raise typer.Exit(1 if failures or not total else 0)


def _run_tables(path: Path) -> tuple[int, int]:
    if not path.is_dir() and not path.is_file():
        raise Usage(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    policy_files = sorted(one for one in folder.glob("*.yaml") if is_policy_file(one.name))
    tables = sorted(one for one in folder.glob("*.yaml") if is_cases_file(one.name))
    if not tables:
        print(f"{folder}: no decision table (NAME.cases.yaml)", file=sys.stderr)
        return 0, 0
    policy = parse_policies([(str(one), read_text(one)) for one in policy_files])
    results = tuple(
        result for table in tables for result in run_cases(policy, parse_cases(read_text(table), str(table)))
    )
    for result in results:
        print(f"{'passed' if result.passed else 'FAILED'}  {result.file}:{result.line}: {result.label}")
        for difference in result.differences:
            print(f"        {difference}")
    for rule in find_unhit(policy, results):
        print(f"note: no case reaches the rule {rule}")
    return sum(not result.passed for result in results), len(results)


def _facts(
    settings: Settings, sender: str, to: str, listener: str, message: MessageFacts | None, *, proven: bool, tls: bool
) -> Facts:
    reverse_path = None if sender in ("", "<>") else parse_address(sender)
    recipient = parse_address(to)
    envelope = EnvelopeFacts(
        listener=listener,
        direction=direction_of(
            recipient, proven=proven, reverse_path=reverse_path, internal=DomainSet(settings.internal.domains)
        ),
        reverse_path=reverse_path,
        recipient=recipient,
        proven=proven,
        tls=tls,
    )
    return Facts(envelope=envelope, message=message)


def _message_facts(settings: Settings, header: list[str], message: Path | None) -> MessageFacts | None:
    if message is None and not header:
        return None
    fields = "".join(f"{_field(one)}\r\n" for one in header).encode()
    content = read_mail(message) if message else b"\r\n"
    examined = examine(fields + content, limits=DEFAULT_LIMITS, secret=b"", hostname=settings.identity.hostname)
    return examined.facts


def _field(text: str) -> str:
    if ":" not in text or not text.isprintable():
        raise Usage(f"--header {text!r}: expected 'Name: value'")
    return text

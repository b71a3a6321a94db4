"""``message process``: the whole pipeline on one message, offline."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from ipaddress import ip_address
from pathlib import Path

from gateway.address import Address
from gateway.app.load import load
from gateway.app.offline import Processed, process
from gateway.app.system import SystemClock
from gateway.cli.files import Usage, parse_address, read_mail, write_mail
from gateway.observe import render


def run(
    config: Path,
    *,
    sender: str,
    recipients: list[str],
    listener: str | None,
    client: str,
    output: Path | None,
    as_json: bool,
) -> int:
    """Process the message on standard input; 0 where the client would hear 250, else 1."""
    loaded = load(config, SystemClock().now)
    names = list(loaded.settings.listeners)
    if listener is not None and listener not in names:
        raise Usage(f"--listener {listener}: the settings have {', '.join(names)}")
    content = read_mail()
    processed = asyncio.run(
        process(
            loaded,
            content=content,
            reverse_path=_reverse_path(sender),
            recipients=[parse_address(one) for one in recipients],
            listener=listener or names[0],
            client_address=_client(client),
        )
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for number, message in enumerate(processed.messages, 1):
            (output / f"{number}.eml").write_bytes(message.content)
    if as_json:
        print(json.dumps(_to_json(processed), indent=2))
    else:
        print("\n".join([*render(processed.record), *processed.unavailable]), file=sys.stderr)
        if output is None:
            _write_one(processed)
    return 0 if processed.reply.is_positive else 1


def _write_one(processed: Processed) -> None:
    """Write the outgoing message, where there is exactly one to write."""
    if len(processed.messages) == 1:
        write_mail([processed.messages[0].content])
    elif processed.messages:
        print(f"smime-gateway: {len(processed.messages)} messages; take --output DIR or --json", file=sys.stderr)


def _client(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise Usage(f"--client {text}: expected an IP address") from None


def _reverse_path(text: str) -> Address | None:
    return None if text in ("", "<>") else parse_address(text)


def _to_json(processed: Processed) -> dict[str, object]:
    messages = [
        {
            "reverse_path": message.reverse_path.octets.decode("utf-8", "replace"),
            "recipients": [path.octets.decode("utf-8", "replace") for path in message.recipients],
            "content_base64": base64.b64encode(message.content).decode("ascii"),
        }
        for message in processed.messages
    ]
    return {**processed.record.to_json(), "messages": messages}

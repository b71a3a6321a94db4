"""The commands by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import certs, message, policy

app = typer.Typer(
    name="smime-gateway",
    help="An S/MIME gateway in front of an MTA: signs, encrypts, verifies and decrypts by policy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(message.app, name="message")
app.add_typer(policy.app, name="policy")
app.add_typer(certs.app, name="certs")

Config = Annotated[Path, typer.Option("-c", "--config", help="The settings file, gateway.yaml.", metavar="FILE")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"smime-gateway {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def serve(config: Config) -> None:
    """Run the gateway. SIGTERM drains, SIGHUP reads all files again."""
    from gateway.cli.serve import run

    raise typer.Exit(run(config))


@app.command()
def check(config: Config) -> None:
    """Check settings, policies, keys and anchors; print every problem with file and line. Exit status 0 or 1."""
    from gateway.cli.check import run

    raise typer.Exit(run(config))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running and print its ports.")] = False,
) -> None:
    """Run the main job on embedded defaults: throw-away PKI, the real gateway, real messages."""
    from gateway.cli.demo import run

    raise typer.Exit(run(keep=keep))


@app.command()
def why(
    transaction: Annotated[str, typer.Argument(help="The id in the reply, the Received field or the log.")],
    config: Config,
) -> None:
    """Show why a past transaction went as it did: its decision record."""
    from gateway.cli.why import run

    raise typer.Exit(run(config, transaction))


@message.app.command("process")
def process(
    config: Config,
    sender: Annotated[str, typer.Option("--from", help="The reverse-path; <> is the null one.")],
    to: Annotated[list[str], typer.Option(help="A recipient (repeat).")],
    listener: Annotated[str | None, typer.Option(help="The listener; the first one without.")] = None,
    client: Annotated[str, typer.Option(help="IP address of the client, for sender_proof.")] = "127.0.0.1",
    output: Annotated[Path | None, typer.Option(help="Folder for the outgoing messages, 1.eml, 2.eml, ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the whole pipeline on the message on standard input, offline. Status 0: accepted, 1: not."""
    from gateway.cli.process import run

    raise typer.Exit(
        run(
            config,
            sender=sender,
            recipients=to,
            listener=listener,
            client=client,
            output=output,
            as_json=as_json,
        )
    )

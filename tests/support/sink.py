"""An upstream double: an SMTP or LMTP server that keeps the exact octets and answers anything at any step.

    with Sink() as sink:                                     # accepts everything
        ...deliver to (sink.host, sink.port)...
        [transaction] = sink.wait(1)
        transaction.content                                  # dots unstuffed; .wire as it came

    with Sink(Script({Step.DOT: reply("451 4.3.0 busy")})) as sink: ...          the same for every connection
    with Sink([Script({Step.DOT: [close()]}), Script()]) as sink: ...            one per connection, the last for others

It is deliberately no good server: it takes any command in any order that makes sense, so that what the client really
said can be looked at. Every connection has a thread; stopping it closes all of them.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.peers import LOOPBACK, wait_for
from tests.support.script import Act, After, Script, Step

EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN")
"""What EHLO offers unless told otherwise."""


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One mail transaction whose mail data arrived in full, whatever was answered to them."""

    connection: int
    """Index in :attr:`Sink.connections`."""
    mail: bytes
    """The MAIL command's line as it came, without CRLF."""
    recipients: tuple[bytes, ...]
    """The lines of the RCPT commands that were accepted."""
    refused: tuple[bytes, ...]
    """The lines of the RCPT commands that were not."""
    wire: bytes
    """The mail data as they came, dots stuffed, without the final ``.CRLF``; with BDAT the octets of the chunks."""
    content: bytes
    """The message: dots unstuffed."""
    authenticated: bytes
    """The AUTH command's line, and what followed it; empty where there was none."""
    replies: tuple[bytes, ...] = ()
    """What was answered to the final dot: one, over LMTP one per recipient; empty where nothing was."""
    answered: bool = False
    """Whether the double has done with it: all was said, or the connection has ended."""

    @property
    def accepted(self) -> bool:
        """Whether every reply to the final dot was a whole 2yz."""
        return bool(self.replies) and all(octets[:1] == b"2" and octets[-2:] == b"\r\n" for octets in self.replies)


@dataclass(slots=True)
class Connection:
    """What was said on one connection."""

    index: int
    peer: int = 0
    """Port at the other end."""
    commands: list[bytes] = field(default_factory=list)
    """Every command line as it came, without CRLF; mail data not among them."""
    received: bytearray = field(default_factory=bytearray)
    """Every octet that came, under TLS decrypted."""
    tls: bool = False
    ended: bool = False
    """Whether it is over."""

    @property
    def verbs(self) -> list[str]:
        """The commands' first words, upper case: ``["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]``."""
        return [line.split(b" ", 1)[0].decode("ascii", "replace").upper() for line in self.commands]


class Sink:
    """The server; a context manager that starts and stops it."""

    def __init__(
        self,
        script: Script | Sequence[Script] | None = None,
        *,
        lmtp: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        hostname: str = "sink.test",
        port: int = 0,
    ) -> None:
        """Describe it: ``tls`` offers STARTTLS, or with ``implicit_tls`` begins with it; AUTH is among ``extensions``.

        A single ``script`` is shared by all connections: its lists go on where the previous connection left them.
        """
        scripts = [script] if isinstance(script, Script) else list(script or [Script()])
        self.host = LOOPBACK
        self.port = port
        self.hostname = hostname
        self.lmtp = lmtp
        self.extensions = tuple(extensions)
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.connections: list[Connection] = []
        self.deliveries: list[Delivery] = []
        self.stopping = threading.Event()
        self._scripts = scripts
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after :meth:`stop` again on the same port."""
        self.stopping = threading.Event()
        listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._run(self._accept, listener)

    def stop(self) -> None:
        """Refuse new connections, close all others, and wait for their threads."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the upstream double does not end"
        self._threads.clear()

    def wait(self, count: int = 1, *, seconds: float = 10.0) -> list[Delivery]:
        """Wait until ``count`` transactions were answered; return all there are. More than that is an error."""
        self.wait_arrived(count, seconds=seconds)
        wait_for(
            lambda: all(delivery.answered for delivery in self.deliveries),
            what="answers to all transactions at the upstream",
            seconds=seconds,
        )
        assert len(self.deliveries) == count, f"{len(self.deliveries)} transactions, expected {count}"
        return list(self.deliveries)

    def wait_arrived(self, count: int = 1, *, seconds: float = 10.0) -> list[Delivery]:
        """Wait until the mail data of ``count`` transactions have arrived, answered or not; return all there are."""
        wait_for(lambda: len(self.deliveries) >= count, what=f"{count} transactions at the upstream", seconds=seconds)
        return list(self.deliveries)

    @property
    def accepted(self) -> list[Delivery]:
        """The transactions that were accepted."""
        return [delivery for delivery in self.deliveries if delivery.accepted]

    # ------------------------------------------------------------ threads

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self.stopping.is_set():
                if not selector.select(0.05):
                    continue
                link, address = listener.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    connection = Connection(len(self.connections), peer=address[1])
                    self.connections.append(connection)
                script = self._scripts[min(connection.index, len(self._scripts) - 1)]
                self._run(_Talk(self, link, connection, script).run)

    def keep(self, delivery: Delivery) -> None:
        """Note a transaction whose mail data have arrived; called by the connection's thread."""
        with self._lock:
            self.deliveries.append(delivery)


class _Over(Exception):
    """The connection is over."""


class _Talk:
    """One connection, in its own thread."""

    def __init__(self, sink: Sink, link: socket.socket, connection: Connection, script: Script) -> None:
        self._sink = sink
        self._link = link
        self._connection = connection
        self._script = script
        self._buffer = bytearray()
        self._authenticated = b""
        self._clear()

    def _clear(self) -> None:
        self._mail = b""
        self._recipients: list[bytes] = []
        self._refused: list[bytes] = []
        self._chunks = bytearray()

    def run(self) -> None:
        """Talk until the end."""
        try:
            if self._sink.tls is not None and self._sink.implicit_tls:
                self._start_tls()
            self._answer(Step.CONNECT, f"220 {self._sink.hostname} ready")
            while True:
                self._obey(self._read_line())
        except (_Over, OSError):
            pass
        finally:
            self._connection.ended = True
            self._link.close()

    # ------------------------------------------------------------ commands

    def _obey(self, line: bytes) -> None:
        self._connection.commands.append(line)
        verb = line.split(b" ", 1)[0].split(b":", 1)[0].upper().decode("ascii", "replace")
        handler = {
            "EHLO": self._ehlo,
            "LHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail_from,
            "RCPT": self._rcpt_to,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "QUIT": self._quit,
        }.get(verb)
        if handler is not None:
            handler(line)
        elif verb in ("HELO", "NOOP", "VRFY"):
            self._answer(Step[verb], "250 ok")
        else:
            self._answer(Step.OTHER, "500 5.5.1 what?")

    def _ehlo(self, line: bytes) -> None:
        offered = [self._sink.hostname, *self._sink.extensions]
        if self._sink.tls is not None and not self._connection.tls:
            offered.append("STARTTLS")
        self._clear()
        self._answer(Step.EHLO, *(f"250-{word}" for word in offered[:-1]), f"250 {offered[-1]}")

    def _starttls(self, line: bytes) -> None:
        if self._answer(Step.STARTTLS, "220 2.0.0 go ahead")[:1] == b"2" and self._sink.tls is not None:
            self._start_tls()

    def _start_tls(self) -> None:
        assert self._sink.tls is not None
        if self._buffer:
            raise _Over  # command injection in front of the handshake
        self._link.settimeout(10)
        self._link = self._sink.tls.wrap_socket(self._link, server_side=True)
        self._connection.tls = True
        self._authenticated = b""
        self._clear()

    def _auth(self, line: bytes) -> None:
        said = [line]
        words = line.split()
        prompts = {b"PLAIN": [b""], b"LOGIN": [b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"]}
        for prompt in prompts.get(words[1].upper() if len(words) > 1 else b"", [])[len(words) - 2 :]:
            self._send(b"334 " + prompt + b"\r\n")
            said.append(self._read_line())
        if self._answer(Step.AUTH, "235 2.7.0 welcome")[:1] == b"2":
            self._authenticated = b"\n".join(said)

    def _mail_from(self, line: bytes) -> None:
        if self._answer(Step.MAIL, "250 2.1.0 sender ok")[:1] == b"2":
            self._clear()
            self._mail = line

    def _rcpt_to(self, line: bytes) -> None:
        accepted = self._answer(Step.RCPT, "250 2.1.5 recipient ok")[:1] == b"2"
        (self._recipients if accepted else self._refused).append(line)

    def _data(self, line: bytes) -> None:
        usual = "354 go on" if self._recipients else "554 5.5.1 no valid recipients"
        if self._answer(Step.DATA, usual)[:1] != b"3":
            return
        wire = self._read_data()
        content = wire.replace(b"\r\n.", b"\r\n")
        self._settle(wire, content[1:] if content.startswith(b".") else content)

    def _bdat(self, line: bytes) -> None:
        words = line.upper().split()
        self._chunks += self._read_octets(int(words[1]))
        if words[2:] == [b"LAST"]:
            self._settle(bytes(self._chunks), bytes(self._chunks))
        else:
            self._answer(Step.BDAT, "250 2.0.0 chunk ok")

    def _settle(self, wire: bytes, content: bytes) -> None:
        delivery = Delivery(
            connection=self._connection.index,
            mail=self._mail,
            recipients=tuple(self._recipients),
            refused=tuple(self._refused),
            wire=wire,
            content=content,
            authenticated=self._authenticated,
        )
        self._sink.keep(delivery)
        try:
            for _recipient in self._recipients if self._sink.lmtp else [b""]:
                delivery.replies += (self._answer(Step.DOT, "250 2.0.0 taken"),)
        except _Over as over:
            delivery.replies += tuple(octets for octets in over.args if octets)
            raise
        finally:
            delivery.answered = True
            self._clear()

    def _rset(self, line: bytes) -> None:
        self._clear()
        self._answer(Step.RSET, "250 2.0.0 ok")

    def _quit(self, line: bytes) -> None:
        self._answer(Step.QUIT, "221 2.0.0 bye")
        raise _Over

    # ------------------------------------------------------------ octets

    def _answer(self, step: Step, *usual: str) -> bytes:
        """Do the script's act for this step; return the octets that were sent. Raise ``_Over`` with them at the end."""
        act = self._script.next_act(step)
        if act.reached is not None:
            act.reached.set()
        if act.until is not None:
            self._wait(act.until)
        octets = "".join(f"{line}\r\n" for line in usual).encode() if act.octets is None else act.octets
        for start in range(0, len(octets), act.split or max(len(octets), 1)):
            self._send(octets[start : start + (act.split or len(octets))])
        self._after(act, octets)
        return octets

    def _after(self, act: Act, octets: bytes) -> None:
        if act.then is After.HANG:
            while self._receive():
                pass
        if act.then is After.RESET:
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if act.then is not After.GO_ON:
            raise _Over(octets)

    def _send(self, octets: bytes) -> None:
        self._link.settimeout(10)
        self._link.sendall(octets)

    def _wait(self, event: threading.Event) -> None:
        while not event.wait(0.01):
            if self._sink.stopping.is_set():
                raise _Over

    def _receive(self) -> bool:
        """Put what has come into the buffer; ``False`` when the client has gone or the double stops."""
        self._link.settimeout(0.05)
        while not self._sink.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                octets = self._link.recv(1 << 20)
                self._buffer += octets
                self._connection.received += octets
                return bool(octets)
        return False

    def _read_until(self, mark: bytes) -> bytes:
        looked = 0
        while (found := self._buffer.find(mark, max(0, looked - len(mark)))) < 0:
            looked = len(self._buffer)
            if not self._receive():
                raise _Over
        octets = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return octets

    def _read_line(self) -> bytes:
        return self._read_until(b"\r\n")

    def _read_data(self) -> bytes:
        """Read to CRLF.CRLF, and to nothing else; return the octets in front of the final dot."""
        while len(self._buffer) < 3:
            if not self._receive():
                raise _Over
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        return self._read_until(b"\r\n.\r\n") + b"\r\n"

    def _read_octets(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._receive():
                raise _Over
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

"""Alerts as letters: SMTP, always inside TLS, to an address that may be reached. Plain text, nothing that renders."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

import httpcore

from flowrun.alerts.webhook import NotSent
from flowrun.egress import Reach, Resolve, forbidden, resolve
from flowrun.errors import ProjectError
from flowrun.project import Mail
from flowrun.transport import ssl_context

STEP_SECS = 10.0  # without progress
WHOLE_SECS = 30.0  # for a letter, whatever the server does
PORTS = {"starttls": 587, "implicit": 465}
_DOMAIN = re.compile(r"[^A-Za-z0-9.-]")


def letter(mail: Mail, title: str, text: str, *, name: str, thread: str, at: datetime) -> EmailMessage:
    """name: of the notice; the same letter sent again has the same Message-ID. thread: of the alert."""
    domain = _DOMAIN.sub("", mail.sender.rpartition("@")[2]) or "flowrun"
    made = EmailMessage()
    made["From"] = one_line(mail.sender)
    made["To"] = ", ".join(one_line(address) for address in mail.to)
    made["Subject"] = one_line(title)[:200]
    made["Date"] = format_datetime(at.astimezone(UTC))
    made["Message-ID"] = f"<{_DOMAIN.sub('', name)}@{domain}>"
    made["References"] = f"<{_DOMAIN.sub('', thread)}@{domain}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers
    made.set_content(text + "\n", cte="quoted-printable")
    return made


def one_line(text: str) -> str:
    """A header's value: what a record says can begin no header of its own."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def post_letter(
    mail: Mail, made: EmailMessage, *, root: Path, allow_private: bool = False, resolve: Resolve = resolve
) -> Sequence[str]:
    """Returns the recipients that the server would not take, when it took others. Raises NotSent."""
    reach: Reach = "private" if allow_private else "loopback" if _is_here(mail.host) else "public"
    try:
        context = ssl_context(str(root / mail.verify) if mail.verify else True)
        server = _Server(context, reach, resolve, implicit=mail.tls == "implicit")
        with server.bounded(WHOLE_SECS):
            server.connect(mail.host, mail.port or PORTS[mail.tls])
            server.ehlo_or_helo_if_needed()
            if mail.tls != "implicit":
                if not server.has_extn("starttls"):
                    raise NotSent("the mail server offers no TLS; nothing was sent, no password shown")
                server.starttls(context=context)
                server.ehlo_or_helo_if_needed()
            if mail.user is not None and mail.password is not None:
                server.login(mail.user, mail.password.reveal())
            refused = server.send_message(made)
            server.quit_quietly()
    except ProjectError as error:
        raise NotSent(error.message) from None
    except httpcore.ConnectError as error:
        raise NotSent(str(error)) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotSent(f"the mail server cannot do what it takes: {error}") from None
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"the mail server refuses the login ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused:
        raise NotSent("the mail server takes none of the recipients") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server answered {error.smtp_code}") from None
    except ssl.SSLError as error:
        raise NotSent(
            f"the mail server's TLS is not trusted: {getattr(error, 'verify_message', error.reason)}"
        ) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise NotSent(f"the mail server cannot be reached ({type(error).__name__})") from None
    return list(refused)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(smtplib.SMTP):
    """smtplib, connecting only where it may, and never longer than it may."""

    def __init__(self, context: ssl.SSLContext, reach: Reach, resolve: Resolve, *, implicit: bool) -> None:
        super().__init__(timeout=STEP_SECS, local_hostname=one_line(socket.gethostname()) or "localhost")
        self._context, self._reach, self._resolve, self._implicit = context, reach, resolve, implicit
        self._held: list[socket.socket] = []

    def connect(self, host: str = "localhost", port: int = 0, source_address: object = None) -> tuple[int, bytes]:
        self._host = host  # smtplib proves the server's certificate against this name
        return super().connect(host, port)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # the only door smtplib leaves
        addresses = self._resolve(host, port)
        for address in addresses:
            reason = forbidden(address, self._reach)
            if reason:
                raise httpcore.ConnectError(f"{host} leads to {address}: {reason.replace('connection', 'channel')}")
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                plain = socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
                continue
            self._held.append(plain.dup())  # TLS takes the socket over; this end of it stays ours
            if not self._implicit:
                return plain
            return self._context.wrap_socket(plain, server_hostname=host)
        raise failure

    def bounded(self, secs: float) -> _Bounded:
        return _Bounded(self, secs)

    def cut(self) -> None:
        """From another thread: whatever is being waited for ends now."""
        for one in self._held:
            with suppress(OSError):  # closed already
                one.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        self.close()
        for one in self._held:
            one.close()

    def quit_quietly(self) -> None:
        """The letter is taken; a server that hangs up without a goodbye changes nothing."""
        with suppress(smtplib.SMTPException, OSError):
            self.quit()


class _Bounded:
    """A byte every nine seconds is progress, and still no delivery."""

    def __init__(self, server: _Server, secs: float) -> None:
        self._server = server
        self._timer = threading.Timer(secs, server.cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._server.let_go()

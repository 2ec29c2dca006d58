"""Send a message by mail: SMTP (RFC 5321) with STARTTLS (RFC 3207) or TLS (RFC 8314)."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from ...errors import Failed
from .rules import MailServer, Recipient
from .texts import Text

#: RFC 5322 2.1.1: up to 998; a heading that is folded looks odd in some programs
FORM = SMTP.clone(max_line_length=400)


def send(server: MailServer, recipient: Recipient, text: Text, message_id: str, thread_id: str = "") -> None:
    """Hand one message over for all addresses of a recipient.

    Args:
        message_id, thread_id: of this message and of the first about the same incident; without angle brackets.

    Raises:
        Failed: `mail-not-sent`; the sentence says at which step, and holds no password.
    """
    message = EmailMessage(FORM)
    message["Subject"], message["From"], message["To"] = text.subject, server.sender, ", ".join(recipient.mail)
    message["Date"], message["Message-ID"] = formatdate(usegmt=True), f"<{message_id}>"
    if thread_id and thread_id != message_id:
        message["In-Reply-To"] = message["References"] = f"<{thread_id}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is to answer it
    message.set_content(text.plain)
    message.add_alternative(text.html, subtype="html")
    step = "cannot be reached"
    try:
        with _connected(server) as smtp:
            if server.security == "starttls":
                step = "does not speak STARTTLS, or its certificate is not trusted"
                smtp.starttls(context=_trust(server))
            if server.user:
                step = "does not take the user or the password"
                smtp.login(server.user, _password(server))
            step = "does not take the message"
            refused = smtp.send_message(message)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise Failed("mail-not-sent", f"{server.host}:{server.port} {step}: {_said(error)}") from None
    if refused:
        names = ", ".join(sorted(refused))
        raise Failed("mail-not-sent", f"{server.host}:{server.port} does not take it for {names}")


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout_seconds, context=_trust(server))
    return smtplib.SMTP(server.host, server.port, timeout=server.timeout_seconds)


def _trust(server: MailServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)


def _password(server: MailServer) -> str:
    if server.password_file is None:
        return ""
    try:
        return server.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the file of the password cannot be read: {error.strerror}") from None


def _said(error: Exception) -> str:
    """What a server answered, in one line: its number, and its words where there are any."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{name}: {code}" for name, (code, _) in sorted(error.recipients.items()))
    if isinstance(error, smtplib.SMTPResponseException):
        words = error.smtp_error.decode("ascii", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return " ".join(f"{error.smtp_code} {words}".split())[:200]
    return " ".join(str(error).split())[:200] or type(error).__name__

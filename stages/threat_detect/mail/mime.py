"""From a mail to a message of RFC 5322, as a file holds it and a mail server takes it."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from stages.threat_detect.mail.message import SENDER_NAME, Mail

_POLICY: Final = SMTP.clone(max_line_length=100)  # an id of 64 digits stays on its header's line
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


def to_eml(mail: Mail, letter_id: str, *, seven_bit: bool = False) -> bytes:
    """Return the mail as an RFC 5322 message: text, and HTML with its pictures inside. The same mail gives the same
    bytes; ``seven_bit`` ones pass through any mail server. Raises ValueError for a mail with a ``fault``."""
    name = file_id(letter_id)
    message = EmailMessage(policy=_POLICY.clone(cte_type="7bit") if seven_bit else _POLICY)
    message["From"] = Address(SENDER_NAME, addr_spec=mail.sender)
    message["To"] = Address(addr_spec=mail.recipient)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.written_at_s, UTC))
    message["Message-ID"] = f"<{name}@lookout>"
    for header, value in mail.headers.items():
        message[header] = value
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    html = message.get_body(("html",))
    if isinstance(html, EmailMessage):
        for picture in mail.pictures:
            html.add_related(
                picture.data,
                maintype="image",
                subtype="jpeg",
                cid=f"<{picture.content_id}>",
                filename=picture.name,
                disposition="inline",
            )
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{name[:40]}_{number}")
    return message.as_bytes()


def file_id(letter_id: str) -> str:
    """Return the letter's id if it can be a file's name as it is, else its digest."""
    return letter_id if _SAFE_ID.fullmatch(letter_id) else hashlib.sha256(letter_id.encode()).hexdigest()

"""Mail by SMTP: one recipient for each delivery, encrypted and verified, and with the same Message-ID each time."""

import re
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from html import escape
from typing import Any, ClassVar
from uuid import UUID

from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import Address, Limit, MessageChannel, NotSentError
from streamworkers.notifications.channels.http import NoAnswerError
from streamworkers.notifications.channels.smtp import MailAccount, MailServer
from streamworkers.notifications.channels.text import Lengths, write_pieces
from streamworkers.notifications.content import Content, Part, Picture

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}")
_MOST_ADDRESS = 254
_MOST_CHARACTERS = 200_000
_MOST_SUBJECT = 200
_PICTURE_ID = "chart"
_POLICY = SMTP.clone(cte_type="7bit")  # not every server takes 8 bits


class Mail(MessageChannel):
    """Messages to an address of mail."""

    name: ClassVar[str] = "mail"
    retry_seconds: ClassVar[Sequence[float]] = (60, 300, 900, 3600)
    takes_pictures: ClassVar[bool] = True
    call_seconds: ClassVar[float] = 60.0

    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        """Return an address whose domain is in small letters."""
        given = address.strip()
        if not _ADDRESS.fullmatch(given) or len(given) > _MOST_ADDRESS:
            raise BadInputError(f"{address!r} is not an address of mail, as bob@example.com")
        if options:
            raise BadInputError(f"the channel mail has no setting {min(options)!r}; it has none")
        local, _, domain = given.rpartition("@")
        return Address(f"{local}@{domain.lower()}", {})

    def limits(self, address: Address) -> Sequence[Limit]:
        """Return that of the server."""
        del address
        return [Limit(f"smtp:{self.settings.smtp_host or 'none'}", 10, 1.0)]

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return one mail: its subject, and the text that both of its forms are made of."""
        del address, has_picture
        lengths = Lengths(_MOST_CHARACTERS, _MOST_CHARACTERS, 1, lambda _: 1)
        pieces = write_pieces(content, lengths)
        if not pieces:
            return []
        subject = " ".join(pieces[0].title.split()) or "Notification"
        part: Part = {"subject": subject[:_MOST_SUBJECT], "title": pieces[0].title, "rest": pieces[0].rest}
        return [part | {"is_subscribed": True} if content.is_subscribed else part]

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        """Send one mail. 4yz is a no for now, 5yz for good; without an answer to the end of the mail nobody knows."""
        account = self._account(address)
        message = write_mail(part, account.sender_header, address.address, delivery, picture)
        try:
            with MailServer(account, self.call_seconds - 5) as server:
                server.send(account.sender, address.address, message.as_bytes(policy=_POLICY))
        except NotSentError as error:
            error.args = (_hide(str(error), address.address, account),)
            raise
        except NoAnswerError as error:
            raise NoAnswerError(_hide(str(error), address.address, account)) from None
        return str(message["Message-ID"])

    def find_missing_setting(self, address: Address) -> str | None:
        """The server or the sender, if one is not set."""
        for name in ("smtp_host", "smtp_from"):
            if getattr(self.settings, name) is None:
                return f"no mail: STREAMWORKERS_{name.upper()} is not set"
        return None

    def _account(self, address: Address) -> MailAccount:
        if (missing := self.find_missing_setting(address)) is not None:
            raise NotSentError(missing, permanent=True)
        sender = parseaddr(self.settings.smtp_from or "")[1]
        if not _ADDRESS.fullmatch(sender):
            wrong = "STREAMWORKERS_SMTP_FROM is not an address of mail, as Alerts <alerts@example.com>"
            raise NotSentError(wrong, permanent=True)
        return MailAccount.of(self.settings, sender)


def write_mail(part: Part, sender: str, recipient: str, delivery: UUID, picture: Picture | None) -> EmailMessage:
    """Return a mail as text and HTML, with the picture in the latter. A line break in a header raises ValueError."""
    message = EmailMessage(policy=_POLICY)
    address = parseaddr(sender)[1]
    message["From"], message["To"], message["Subject"] = sender, recipient, part["subject"]
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{delivery}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    if part.get("is_subscribed"):
        # By mail to a person: one click (RFC 8058) needs an address of HTTP that takes it, which is not there yet.
        message["List-Unsubscribe"] = f"<mailto:{address}?subject=unsubscribe>"
    message.set_content(f"{part['title']}{part['rest']}\n")
    message.add_alternative(_html(part, picture), subtype="html")
    if picture is not None:
        html = message.get_payload(1)
        assert isinstance(html, EmailMessage)
        html.add_related(
            picture.data, "image", "png", cid=f"<{_PICTURE_ID}>", filename="chart.png", disposition="inline"
        )
    return message


def _html(part: Part, picture: Picture | None) -> str:
    title, paragraphs = escape(part["title"]), escape(part["rest"]).strip().split("\n\n")
    body = "".join("<p>" + _link(text).replace("\n", "<br>\n") + "</p>\n" for text in paragraphs if text)
    image = ""
    if picture is not None:
        image = f'<p><img src="cid:{_PICTURE_ID}" alt="{escape(picture.description)}"></p>\n'
    return f"<!DOCTYPE html>\n<html><body>\n<p><b>{title}</b></p>\n{body}{image}</body></html>\n"


def _link(escaped: str) -> str:
    """Make a link of each URL of a text whose values are escaped already."""
    return re.sub(
        r"https?://[^\s<>]+?(?=&quot;|&#x27;|&lt;|&gt;|[\s.,;!?)]*(?:\s|$))", r'<a href="\g<0>">\g<0></a>', escaped
    )


def _hide(text: str, recipient: str, account: MailAccount) -> str:
    """Return what a server says without the addresses in it."""
    secrets = [recipient, recipient.rpartition("@")[0], account.sender, account.user, account.password]
    for secret in filter(None, secrets):
        text = re.sub(rf"(?i)(?<![\w.]){re.escape(secret)}(?![\w])", "…", text)
    return text

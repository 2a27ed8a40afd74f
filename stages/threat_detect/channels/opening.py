"""Opening of channels: the one place that knows all of them. Each is imported when it is opened.

The address of a channel comes from the settings, by the name that the alert gives.
"""

from __future__ import annotations

from pathlib import Path

from lookout.app.extras import explain
from lookout.config.channels import NamedChannel, variable
from lookout.config.settings import Settings
from lookout.domain.channel_names import is_channel_name
from lookout.domain.errors import InputRejected
from lookout.domain.records import MAIL
from lookout.outbox.channel import Channel, Letter

TYPES = ("webhook", "apprise")


class Channels:
    """All channels of the product; see ``lookout.app.installation.Channels``."""

    def open(self, name: str, settings: Settings, folder: Path | None) -> Channel:
        """Open a channel: ``mail``, or type and name as in ``webhook:home``. Mail becomes files in the ``folder`` where
        no mail service is set. Raises InputRejected that names the variable to set."""
        if name == MAIL:
            return _open_mail(settings, folder)
        found = _find(name, settings)
        if name.startswith("webhook:"):
            from stages.threat_detect.channels.webhook import WebhookChannel

            return WebhookChannel(found)
        try:
            from stages.threat_detect.channels.apprise_channel import AppriseChannel
        except ModuleNotFoundError as exc:
            raise explain(exc) from exc
        return AppriseChannel(found)

    def check_mail(self, settings: Settings) -> None:
        """Raise InputRejected for a host to which no mail can be sent."""
        if settings.sendgrid_api_key and settings.sendgrid_host:
            from stages.threat_detect.mail.http_post import target

            try:
                target(settings.sendgrid_host)
            except InputRejected as exc:
                raise InputRejected(exc.what, "LOOKOUT_SENDGRID_HOST", exc.hint) from exc

    def find_names(self, settings: Settings) -> list[str]:
        """Return mail, and the channels that the environment names."""
        return [MAIL, *(f"{channel.type}:{channel.name}" for channel in settings.channels.values())]

    def sample(self, name: str, now_s: float, sender: str, recipient: str) -> Letter:
        """Return a letter that says that it is a test, with a picture; addresses are of mail alone."""
        from stages.threat_detect.channels.sample import sample_letter

        return sample_letter(name, now_s, sender, recipient)


def _find(name: str, settings: Settings) -> NamedChannel:
    type_, _, own = name.partition(":")
    if type_ not in TYPES or not is_channel_name(own):
        raise InputRejected("this version knows no such channel", name, f"it knows mail, {', '.join(TYPES)}")
    if own not in settings.channels:
        raise InputRejected("is not set", variable(own, "URL"), f"{name} needs it")
    return settings.channels[own]


def _open_mail(settings: Settings, folder: Path | None) -> Channel:
    if settings.sendgrid_api_key:
        from stages.threat_detect.mail.sendgrid import DEFAULT_HOST, SendGridChannel

        return SendGridChannel(settings.sendgrid_api_key, settings.sendgrid_host or DEFAULT_HOST)
    if settings.smtp is not None:
        from stages.threat_detect.mail.smtp import SmtpChannel

        return SmtpChannel(settings.smtp)
    if folder is None:
        raise InputRejected("is not set", "SENDGRID_API_KEY", "set it, or LOOKOUT_SMTP_URL; until then mails wait")
    from stages.threat_detect.mail.eml_folder import FolderChannel

    return FolderChannel(folder)

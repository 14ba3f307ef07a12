"""Settings of notifications: the accounts that messages are sent with, limits, digests and how long they are kept."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr


class NotificationSettings(BaseModel):
    """How messages leave, and how many."""

    telegram_token: SecretStr | None = Field(None, description="Token of the Telegram bot, `ID:SECRET`")
    telegram_url: str = Field(
        "https://api.telegram.org", pattern=r"^https?://", description="Where the Bot API of Telegram is"
    )
    smtp_host: str | None = Field(None, description="Server that takes mail; without it no mail is sent")
    smtp_port: int = Field(587, ge=1, le=65_535, description="Its port")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="Encryption of mail: `starttls` and `tls` are required and verified; or `none`"
    )
    smtp_user: str | None = Field(None, description="User at the mail server; without it nobody logs in")
    smtp_password: SecretStr | None = Field(None, description="Password of that user")
    smtp_from: str | None = Field(None, description="Address that mail comes from")
    smtp_ca_file: str | None = Field(None, description="File of authorities that sign the server's certificate")
    channel_max_answer_bytes: int = Field(
        65_536,
        ge=1024,
        le=64 << 20,
        description="Most that is read of an answer of Telegram, a mail server, a chat service or a webhook, in bytes",
    )
    telegram_max_updates_bytes: int = Field(
        4 << 20, ge=65_536, le=64 << 20, description="The same of what the bot polls: up to 100 updates"
    )
    webhook_private: bool = Field(False, description="Allow webhooks to private and loopback addresses")
    deliver_threads: int = Field(4, ge=1, le=32, description="Messages that a worker sends at the same time")
    notifications_per_minute: int = Field(
        20, ge=1, le=10_000, description="Messages to a user in a minute, from which the rest waits"
    )
    storm_count: int = Field(
        50, ge=1, le=100_000, description="Notifications of a type to a user in `storm_minutes`; more become one digest"
    )
    storm_minutes: float = Field(5.0, gt=0, le=1440, description="Length of that window")
    digest_minutes: int = Field(60, ge=1, le=10_080, description="Minutes between digests, where a user names none")
    notification_max_bytes: int = Field(
        65_536, ge=1024, le=1 << 20, description="Largest `data` of a notification, in bytes of JSON in ASCII"
    )
    notification_max_depth: int = Field(32, ge=2, le=200, description="Levels of lists and objects in it")
    system_user: str = Field(
        "local",
        min_length=1,
        max_length=200,
        description="The user who is notified of failed and late runs, and of all else about the pool",
    )
    watchdog_at: str | None = Field(
        None,
        pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$",
        description="New York time at which that user gets a sign of life each day; without it none",
    )
    public_url: str | None = Field(
        None, pattern=r"^https?://", description="Where people see runs and boards; links in messages begin with it"
    )

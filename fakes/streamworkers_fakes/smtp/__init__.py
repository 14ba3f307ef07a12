"""A fake mail server for tests and demos; it misbehaves on demand, and delivers nothing."""

from streamworkers_fakes.smtp.plans import SMTP_PLANS, SmtpPlan, parse_smtp_plan
from streamworkers_fakes.smtp.server import (
    RunningFakeSmtp,
    SmtpOptions,
    TakenMail,
    fake_smtp_process,
    running_fake_smtp,
)

__all__ = [
    "SMTP_PLANS",
    "RunningFakeSmtp",
    "SmtpOptions",
    "SmtpPlan",
    "TakenMail",
    "fake_smtp_process",
    "parse_smtp_plan",
    "running_fake_smtp",
]

"""A fake receiver of webhooks, and of messages to Slack and Discord, for tests and demos; it misbehaves on demand."""

from streamworkers_fakes.webhook.receiver import (
    HOOK_PLANS,
    FakeReceiver,
    HookCall,
    HookPlan,
    find_signature_fault,
    parse_hook_plan,
)
from streamworkers_fakes.webhook.server import RunningFakeReceiver, fake_receiver_process, running_fake_receiver

__all__ = [
    "HOOK_PLANS",
    "FakeReceiver",
    "HookCall",
    "HookPlan",
    "RunningFakeReceiver",
    "fake_receiver_process",
    "find_signature_fault",
    "parse_hook_plan",
    "running_fake_receiver",
]

"""Plans of the fake mail server and of the fake receiver, as texts."""

import pytest

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers_fakes.smtp.plans import SmtpPlan, SmtpPlans, parse_smtp_plan
from streamworkers_fakes.webhook.receiver import HookPlan, parse_hook_plan


def test_a_plan_of_mail_is_parsed() -> None:
    assert parse_smtp_plan("550,step=data,to=a@b,calls=2") == SmtpPlan("550", "data", "a@b", 2)
    assert parse_smtp_plan("timeout").step == "data"
    assert parse_smtp_plan("drop_before").step == "mail"


def test_a_plan_of_mail_counts_its_calls() -> None:
    plans = SmtpPlans()
    plans.add(SmtpPlan("450", to="a@b", calls=1))
    plans.add(SmtpPlan("550"))
    taken = [plans.take("rcpt", to) for to in ("c@d", "a@b", "a@b")]
    assert [plan.name for plan in taken if plan] == ["550", "450", "550"]
    assert plans.take("data", "a@b") is None


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "553",
            UnknownNameError,
            "no plan is named '553'; did you mean '554'?",
        ),
        ("550,step=hello", UnknownNameError, "no step is named 'hello'; known: data, mail, rcpt"),
        ("550,for=a", BadInputError, "plan '550,for=a': 'for' is none of step, to, calls"),
        ("550,calls=x", BadInputError, "plan '550,calls=x': calls 'x' is not a whole number"),
    ],
)
def test_a_bad_plan_of_mail_is_an_error(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        parse_smtp_plan(text)
    assert str(raised.value) == message


def test_a_plan_of_the_receiver_is_parsed() -> None:
    assert parse_hook_plan("status=503") == HookPlan("status", "503")
    assert parse_hook_plan("drop") == HookPlan("drop")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("dropp", UnknownNameError, "no plan is named 'dropp'; did you mean 'drop'?"),
        ("status", BadInputError, "plan 'status': status takes a value"),
        ("drop=1", BadInputError, "plan 'drop=1': drop takes no value"),
    ],
)
def test_a_bad_plan_of_the_receiver_is_an_error(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        parse_hook_plan(text)
    assert str(raised.value) == message

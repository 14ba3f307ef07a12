"""Calls to the outside world from a handler: claim, call, record, so that none is lost and a second one is named.

A message or an order cannot be undone, so a call cannot be repeated like the rest of an item. For each thing that a
handler has to call for, one by one, `call_outside` commits a claim with a fresh random token, makes the call, and
commits the answer where the claim is still its own, before it takes the next. A worker may die between any two steps:

========================  ==========================  ===========================================
it dies                   the next one finds          and the thing is
========================  ==========================  ===========================================
before the claim          it unclaimed                called
between claim and call    it claimed by another       ambiguous: called again, or held
during the call           it claimed by another       ambiguous: called again, or held
between call and record   it claimed by another       ambiguous: called again, or held
after the record          it closed                   not called
========================  ==========================  ===========================================

So no call is lost, and a call can be made twice only for a thing that was named ambiguous: it is logged
(`call_ambiguous`) before the second call, so that the line is not lost with another worker. A death leaves at most as
many things ambiguous as threads were calling. The policy decides what happens to them: `retry` calls again, for calls
that their receiver can recognise or that do no harm twice; `hold` leaves them to a person.
"""

from streamworkers.engine.outside.calling import MOST_THREADS, call_outside
from streamworkers.engine.outside.contract import (
    Answer,
    Claim,
    Late,
    Later,
    NotDoneError,
    Outside,
    Policy,
    Reply,
    Result,
)

__all__ = [
    "MOST_THREADS",
    "Answer",
    "Claim",
    "Late",
    "Later",
    "NotDoneError",
    "Outside",
    "Policy",
    "Reply",
    "Result",
    "call_outside",
]

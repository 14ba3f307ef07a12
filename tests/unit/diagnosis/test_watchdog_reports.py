"""When the watchdog reports: once for a fault, again after a while, once at its end; and never held up by a look."""

import threading

from streamworkers.diagnosis.watchdog import AGAIN_SECONDS, BoundedLook, Standstill, decide_report


def test_a_fault_is_reported_once_again_after_a_while_and_at_its_end() -> None:
    begin = decide_report(Standstill(), ["no worker is alive"], 100.0)
    assert begin is not None
    assert begin.content.title == "Watchdog: messages may not reach you"
    assert begin.content.lines == ("no worker is alive", "Look: streamworkers doctor")
    assert decide_report(begin.after, ["no worker is alive"], 100.0 + AGAIN_SECONDS - 1) is None
    again = decide_report(begin.after, ["x" * 600], 100.0 + AGAIN_SECONDS)
    assert again is not None
    assert (again.after.since, len(again.content.lines[0])) == (100.0, 500)
    end = decide_report(again.after, [], 100.0 + AGAIN_SECONDS + 60)
    assert end is not None
    assert end.content.lines == ("It was over after 361 min",)
    assert decide_report(end.after, [], 1e9) is None


def test_a_look_that_hangs_is_a_fault_and_is_not_repeated_beside_itself() -> None:
    release, looks = threading.Event(), []

    def hang() -> list[str]:
        looks.append(1)
        release.wait()
        return []

    look = BoundedLook(hang, 0.01)
    assert look() == look() == ["Redis or PostgreSQL has not answered within 0 s"]
    assert len(looks) == 1
    release.set()


def test_a_look_that_fails_in_an_unknown_way_is_a_fault() -> None:
    def fail() -> list[str]:
        raise OSError("no route")

    assert BoundedLook(fail, 60.0)() == ["OSError: no route"]

"""How tests are dealt to several processes."""

from order import deal

SLOW = [f"tests/crash/test_shutdown.py::test_{number}" for number in range(7)]
SHARING = [f"tests/faults/test_redis_faults.py::test_{number}" for number in range(5)]
QUICK = [f"tests/unit/test_docs.py::test_{number}" for number in range(40)]


def test_every_test_is_dealt_once() -> None:
    names = [*QUICK[:20], *SLOW, *SHARING, *QUICK[20:]]
    for processes in (1, 2, 3, 4, 8, 100):
        assert sorted(deal(names, names, processes)) == sorted(names)


def test_each_process_begins_with_its_share_of_slow_tests() -> None:
    names = [*QUICK, *SLOW, *SHARING]
    dealt = deal(names, names, 4)
    for number in range(4):
        first = dealt[len(names) * number // 4 :][:2]
        assert not set(first) & set(QUICK)


def test_tests_that_share_a_pool_stay_together() -> None:
    names = [*SHARING[:2], *SLOW, *QUICK, *SHARING[2:]]
    places = [place for place, name in enumerate(deal(names, names, 2)) if name in SHARING]
    assert places == list(range(places[0], places[0] + len(SHARING)))

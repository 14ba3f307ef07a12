"""How tests are dealt to several processes."""

from pathlib import Path

from order import deal, start_elsewhere

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


def test_each_process_collects_every_file_and_begins_with_its_own_share(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            (tmp_path / folder / f"test_{number}.py").touch()
        (tmp_path / folder / "helper.py").touch()
    orders = [start_elsewhere([str(tmp_path)], number, 3) for number in range(3)]
    files = [str(tmp_path / folder / f"test_{number}.py") for folder in "ab" for number in range(4)]
    assert [sorted(order) for order in orders] == [files] * 3
    assert [order[0] for order in orders] == [files[0], files[2], files[5]]

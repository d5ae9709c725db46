"""Turns: one at a time, in order, single pictures first, and nobody is forgotten."""

import random
import threading
from collections.abc import Callable

import pytest
from page_studio import PATIENCE, wait_until

from memgan.apps.web import lane as module
from memgan.apps.web.lane import Lane, Stopped


def never() -> bool:
    return False


class Crowd:
    """Threads that want their turn, and the order in which they had it."""

    def __init__(self) -> None:
        self.lane = Lane()
        self.had: list[str] = []
        self.told: dict[str, list[int]] = {}
        self.threads: list[threading.Thread] = []

    def comes(self, name: str, *, urgent: bool = False, stops: Callable[[], bool] = never) -> None:
        """Someone comes, and stands in line."""
        told = self.told.setdefault(name, [])

        def run() -> None:
            try:
                with self.lane.turn(urgent=urgent, stops=stops, tell=told.append):
                    self.had.append(name)
            except Stopped:
                self.had.append(f"{name} gave up")

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()
        wait_until(lambda: told or not thread.is_alive())

    def ends(self) -> list[str]:
        """The order, once all are through."""
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "someone waits for ever"
        return self.had


def test_who_is_urgent_goes_first_and_all_others_in_order() -> None:
    crowd = Crowd()
    with crowd.lane.turn(urgent=False, stops=never):
        for name, urgent in (("long 1", False), ("quick 1", True), ("long 2", False), ("quick 2", True)):
            crowd.comes(name, urgent=urgent)
        assert {name: told[0] for name, told in crowd.told.items()} == {
            "long 1": 1,
            "quick 1": 1,
            "long 2": 3,
            "quick 2": 2,
        }
        wait_until(lambda: crowd.told["long 1"][-1] == 3)
    assert crowd.ends() == ["quick 1", "quick 2", "long 1", "long 2"]


def test_a_free_lane_tells_nothing() -> None:
    told: list[int] = []
    with Lane().turn(urgent=True, stops=lambda: True, tell=told.append):
        assert not told


def test_long_work_gives_way_to_urgent_one_alone() -> None:
    crowd = Crowd()
    with crowd.lane.turn(urgent=False, stops=never):
        crowd.comes("another film")
        crowd.lane.give_way(stops=never)
        assert not crowd.had, "nobody is urgent"
        crowd.comes("quick", urgent=True)
        told: list[int] = []
        crowd.lane.give_way(stops=never, tell=told.append)
        assert crowd.had == ["quick"], "the turn was lent, and other long work does not get it"
        assert set(told) <= {1}
    assert crowd.ends() == ["quick", "another film"]


def test_who_stops_while_it_gives_way_still_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    lane, go_on = Lane(), threading.Event()
    inside = threading.Event()

    def quick() -> None:
        with lane.turn(urgent=True, stops=never, tell=lambda _: inside.set()):
            go_on.wait(PATIENCE)

    others: list[str] = []
    with lane.turn(urgent=False, stops=never):
        thread = threading.Thread(target=quick, daemon=True)
        thread.start()
        assert inside.wait(PATIENCE)

        def stops() -> bool:
            go_on.set()
            return True

        with pytest.raises(Stopped, match="add it again"):
            lane.give_way(stops=stops)
        thread.join(PATIENCE)
        other = threading.Thread(target=lambda: _turn(lane, others), daemon=True)
        other.start()
        other.join(0.05)
        assert not others, "the lane is not free"
    other.join(PATIENCE)
    assert others == ["had"]


def _turn(lane: Lane, had: list[str]) -> None:
    with lane.turn(urgent=True, stops=never):
        had.append("had")


def test_who_gives_up_while_waiting_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    crowd, stop = Crowd(), threading.Event()
    with crowd.lane.turn(urgent=False, stops=never):
        crowd.comes("first", stops=stop.is_set)
        crowd.comes("second")
        stop.set()
        wait_until(lambda: crowd.had == ["first gave up"])
        wait_until(lambda: crowd.told["second"] == [2, 1])
    assert crowd.ends() == ["first gave up", "second"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Stopped])
def test_an_exception_ends_the_turn(error: type[BaseException]) -> None:
    lane = Lane()
    with pytest.raises(error), lane.turn(urgent=True, stops=never):
        raise error()
    with lane.turn(urgent=False, stops=never):
        pass


@pytest.mark.parametrize("who", ["tell", "stops"])
def test_an_exception_of_who_waits_leaves_the_line(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    lane = Lane()

    def fails(*_: object) -> bool:
        raise ZeroDivisionError

    asked = {"stops": never, "tell": lambda _: None, who: fails}
    with lane.turn(urgent=False, stops=never), pytest.raises(ZeroDivisionError):
        thread_free = lane.turn(urgent=True, **asked)  # type: ignore[arg-type]
        thread_free.__enter__()
    with lane.turn(urgent=False, stops=never):
        pass


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_threads(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is inside at a time, everybody gets through or gives up, and the lane is free afterwards."""
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    lane, draw = Lane(), random.Random(seed)
    inside, most, ended = 0, 0, []
    guard = threading.Lock()

    def visit(number: int, urgent: bool, patience: int, frames: int) -> None:
        nonlocal inside, most
        asked = 0

        def stops() -> bool:
            nonlocal asked
            asked += 1
            return asked > patience

        def work() -> None:
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.0005)
            with guard:
                inside -= 1

        try:
            with lane.turn(urgent=urgent, stops=stops):
                for _ in range(frames):
                    work()
                    if not urgent:
                        lane.give_way(stops=stops)
            ended.append((number, "through"))
        except Stopped:
            ended.append((number, "gave up"))

    threads = [
        threading.Thread(
            target=visit,
            args=(number, draw.random() < 0.5, draw.choice((0, 1, 10**6)), draw.randint(1, 4)),
            daemon=True,
        )
        for number in range(60)
    ]
    for thread in threads:
        thread.start()
        if draw.random() < 0.3:
            threading.Event().wait(0.002)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    assert most == 1 and sorted(number for number, _ in ended) == list(range(60))
    assert not lane._waiting and not lane._is_busy

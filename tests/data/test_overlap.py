"""Two stages at a time lose nothing and keep their order, whatever goes wrong in either."""

import threading

import pytest

from mmdiff.data.overlap import WAITING, overlapped


def test_results_keep_the_order_of_the_items_and_come_from_another_thread():
    threads = set()

    def act(item):
        threads.add(threading.get_ident())
        return 2 * item

    assert list(overlapped(range(9), act)) == [2 * i for i in range(9)]
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_the_next_item_is_made_while_the_one_before_is_worked_on():
    made = threading.Event()

    def items():
        yield 0
        made.set()                                                    # only after 0 was handed over
        yield 1

    assert list(overlapped(items(), lambda item: made.wait(20) and item)) == [0, 1]


def test_no_more_items_are_made_than_may_wait():
    go, made = threading.Event(), []

    def items():
        for i in range(12):
            made.append(i)
            if i == WAITING:                                          # as many as there is room for
                go.set()
            yield i

    def act(item):
        assert go.wait(20)
        return len(made) - item

    assert max(overlapped(items(), act)) <= WAITING + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_an_error_in_the_making_is_told_after_what_was_made_is_done(error):
    done = []

    def items():
        yield from range(3)
        raise error("stop")

    with pytest.raises(error, match="stop"):
        list(overlapped(items(), done.append))
    assert done == [0, 1, 2]


def test_an_error_in_the_work_ends_the_making_and_is_told():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    def act(item):
        if item == 1:
            raise OSError("no space left")
        return item

    with pytest.raises(OSError, match="no space left"):
        list(overlapped(items(), act))
    assert len(made) <= WAITING + 4


def test_who_stops_asking_leaves_nothing_undone():
    done = []
    results = overlapped(range(5), lambda item: done.append(item) or item)
    next(results)
    results.close()
    assert done == list(range(len(done))) and done

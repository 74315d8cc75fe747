"""Two stages at a time: what is done with an item while the next is made."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")
WAITING = 2
"""Items that wait while one more is made, at most: what bounds the memory."""


def overlapped(items: Iterable[Item], act: Callable[[Item], Done]) -> Iterator[Done]:
    """``act`` of each item, in order, in one thread of its own while the next items are made in this one.

    What goes wrong in either stage, Ctrl-C included, ends both and is raised here, once ``act`` is done with all that
    was made before: nothing is lost.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="overlapped") as thread:
        waiting: deque[Future[Done]] = deque()
        for item in items:
            waiting.append(thread.submit(act, item))
            while waiting and (len(waiting) > WAITING or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

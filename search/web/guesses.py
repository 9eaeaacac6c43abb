"""Wrong passwords, counted by the address that they come from, so that nobody can try many."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FREE = 10  # that an address may guess wrong at once
SECONDS = 2.0  # until it may guess once more
MOST_ADDRESSES = 10_000
NETWORK = 64  # bits of an IPv6 address that tell two customers apart


class Guesses:
    """How many guesses each address has left.

    Args:
        clock: says the time in seconds.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # guesses, and when

    def wait(self, address: str) -> float:
        """Return for how many seconds an address may not guess; 0 if it may."""
        with self._lock:
            return max(0.0, self._left(_place(address)) + 1 - FREE) * SECONDS

    def wrong(self, address: str) -> None:
        """Note a wrong guess."""
        place = _place(address)
        with self._lock:
            self._spent[place] = (self._left(place) + 1, self._clock())
            self._spent.move_to_end(place)
            if len(self._spent) > MOST_ADDRESSES:
                self._spent.popitem(last=False)

    def _left(self, place: str) -> float:
        """Return how many of an address's guesses still count."""
        count, at = self._spent.get(place, (0.0, 0.0))
        return max(0.0, count - (self._clock() - at) / SECONDS)


def _place(address: str) -> str:
    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if one.version == 4:
        return str(one)
    return str(ipaddress.ip_network((one, NETWORK), strict=False))

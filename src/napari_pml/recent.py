"""Values in memory, of which those used last stay."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values used last, as many as fit into a number of bytes; for any thread.

    Attributes:
        max_bytes: the limit; the value used last stays even if it alone is larger.
        n_bytes: what the values take.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int], at_least: int = 1) -> None:
        """Keep nothing yet.

        Args:
            max_bytes: the limit.
            size: returns how many bytes a value takes.
            at_least: number of values that stay, however large they are.
        """
        self.max_bytes, self.n_bytes = max_bytes, 0
        self._size, self._at_least = size, at_least
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys, the one used least recently first."""
        return iter(list(self._values))

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """Return a value and count that as a use; None if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, and let go of those used least recently if there is no room."""
        with self._lock:
            self.pop(key)
            self._values[key] = value
            self.n_bytes += self._size(value)
            while self.n_bytes > self.max_bytes and len(self._values) > max(1, self._at_least):
                self.pop(next(iter(self._values)))

    def pop(self, key: K) -> V | None:
        """Let go of a value and return it; None if it is not there."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self.n_bytes -= self._size(value)
            return value

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()
            self.n_bytes = 0

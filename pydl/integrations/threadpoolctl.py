"""threadpoolctl's limits hold for pydl: ``with threadpool_limits(1)`` and ``threadpool_info()``.

Importing both packages, in either order, is enough. The limit is that of the calling thread, as
``with pydl.threads(n)`` sets it.
"""

from __future__ import annotations

import ctypes
import threading

__all__ = ["register"]

_registered = False
_thread = threading.local()
# .seen: the count that threadpoolctl asked for last, as it does when a block begins
# .outside: the count of the process when this thread's limit began


def register() -> None:
    """Make pydl's compiled module known to threadpoolctl (3.2 or later; does nothing before)."""
    global _registered
    import threadpoolctl

    if _registered or not hasattr(threadpoolctl, "register"):
        return
    _registered = True

    class PydlController(threadpoolctl.LibController):
        """The thread pool of pydl's compiled module."""

        user_api = internal_api = "pydl"
        filename_prefixes = ("_pydl_core",)
        check_symbols = ("pydl_get_num_threads",)

        def get_num_threads(self) -> int:
            _thread.seen = self.dynlib.pydl_get_num_threads()
            return _thread.seen

        def set_num_threads(self, num_threads: int) -> None:
            """Limit this thread; or, where threadpoolctl ends a block, remove its limit.

            threadpoolctl ends a block by setting the count that it asked for at the beginning, even
            if it did not limit this library. A limit that were left would hide `set_num_threads`.
            """
            if not self.dynlib.pydl_get_scoped_threads():
                now = self.dynlib.pydl_get_num_threads()
                if now != getattr(_thread, "seen", now):
                    return  # changed for the process within a block that limited others
                _thread.outside = now
            ends = num_threads == getattr(_thread, "outside", None)
            if ends:
                _thread.outside = None
            self.dynlib.pydl_set_scoped_threads(0 if ends else num_threads)

        def get_version(self) -> str:
            version = self.dynlib.pydl_version
            version.restype = ctypes.c_char_p
            return version().decode()

    threadpoolctl.register(PydlController)

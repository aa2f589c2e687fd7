"""A daemon whose model takes as long as a test asks for."""

import harness
import wire


class SlowDaemon:
    """A daemon with the slow model, and how many of its rounds make a second here and now."""

    def __init__(self, daemon):
        self.daemon = daemon
        rounds = 5000
        fastest = min(
            daemon.classify("slow", wire.row([rounds])).results[0].times.execute_us
            for _ in range(3)
        )
        self._rounds_per_second = rounds * 1e6 / fastest

    def ask(self, seconds: float, timeout=harness.CALL_LIMIT_S):
        return self.daemon.classify("slow", self.item(seconds), timeout=timeout)

    def item(self, seconds: float):
        return wire.row([round(seconds * self._rounds_per_second)])

    def rows_run(self) -> int:
        return self.daemon.status().executors[0].rows_run

    def waiting(self) -> int:
        return self.daemon.status().executors[0].rows_waiting

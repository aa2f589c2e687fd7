"""Blocks of runs that take turns, so that what else the machine does falls on all of them."""

import statistics
import time

SKIPPED = 3  # The first runs of a block find the caches full of another's numbers.


def medians(blocks: dict, turns: int) -> dict:
    """Of the times that each of `blocks`, functions by name, returns when its turn comes. The first
    turn warms up and does not count; who returns None has no further turns, and no median."""
    times: dict = {name: [] for name in blocks}
    for turn in range(-1, turns):
        for name in list(times):
            found = blocks[name]()
            if found is None:
                del times[name]
            elif turn >= 0:
                times[name] += found[SKIPPED:]
            time.sleep(0.02)  # For threads that spin to fall asleep.
    return {name: statistics.median(found) for name, found in times.items()}

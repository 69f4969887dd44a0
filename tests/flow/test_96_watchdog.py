# SPDX-License-Identifier: Apache-2.0
"""The watchdog of the debug build that `make watchdog` makes: a worker that blocks is found. Every
other test of that build fails if it finds one.
"""
import re

import pytest

pytestmark = pytest.mark.host_only("because it tests what only a debug build on the host has")


def blocks(t, how):
    """A daemon whose first worker has blocked on purpose; True when the watchdog has seen it."""
    d = t.daemon(start=False, workers=1)
    d.expect_report = True
    d.start(environ={"TL_WATCHDOG_TRY": how})
    for _ in range(60):              # each answer takes the worker a turn
        d.rpc("connections")
    try:
        d.wait_log(r"watchdog: stack of the worker", 2)
    except AssertionError:
        return False
    stack = d.log().partition("stack of the worker:")[2]
    assert re.search(r"watchdog: worker 0 has not come round: ran \d+ ms, slept \d+ ms", d.log())
    assert "tl_watchdog_turn_begin" in stack and "tl_net_turn" in stack, stack[:2000]
    d.finish()
    return True


@pytest.mark.parametrize("how", ("sleep", "spin"))
def test_watchdog_finds_a_blocked_worker(t, how):
    """80 ms asleep, or of processor time, within one turn: the stack of the worker is printed. On a
    busy machine the watchdog itself may come late, so it has some tries."""
    with open(t.tieline, "rb") as f:
        if b"TL_WATCHDOG_TRY" not in f.read():
            pytest.skip("this build has no watchdog; `make watchdog` makes one that has")
    assert any(blocks(t, how) for _ in range(5))

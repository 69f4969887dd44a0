# SPDX-License-Identifier: Apache-2.0
"""Tests whose verdicts are known; ../selftest compares."""
import os
import signal
import subprocess
import time

import pytest


def test_first_try_fails(t):
    mark = os.path.join(t.options.dir, "tried")
    if not os.path.exists(mark):
        open(mark, "w", encoding="ascii").close()
        raise AssertionError("the first time")


def test_passes(t):
    t.daemon()


def test_skips(t):
    t.need("no-such-program")


@pytest.mark.xfail(reason="it is not kept yet", strict=True)
def test_is_expected_to_fail(t):
    assert not t


def test_fails(t):
    t.daemon()
    assert 1 == 2, "one is not two"


@pytest.mark.timeout(2)
def test_hangs(t):
    t.daemon()
    time.sleep(300)


@pytest.mark.timeout(2)
def test_hangs_and_hears_no_signal(t):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    t.daemon()
    subprocess.run(["sleep", "300"], check=False)


def test_process_ends(_t=None):
    os._exit(0)


def test_leaves_a_program(t):
    subprocess.Popen(["sleep", os.environ["SELFTEST_SLEEP"]])


def test_daemon_dies(t):
    t.daemon().proc.kill()
    t.wait(lambda: False, "nothing")


def test_daemon_has_connections_left(t):
    d = t.daemon()
    d.keeps = -1                # as if one more than those that are there had stayed
    d.fds_at_start -= 1
    d.settle(timeout_s=1)


def test_other_1(t):
    time.sleep(1)
    assert not os.path.exists(os.path.join(t.options.dir, "alone"))


test_other_2 = test_other_3 = test_other_1


@pytest.mark.alone
def test_alone(t):
    mark = os.path.join(t.options.dir, "alone")
    open(mark, "w", encoding="ascii").close()
    time.sleep(1)
    os.unlink(mark)

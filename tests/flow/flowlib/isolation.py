# SPDX-License-Identifier: Apache-2.0
"""A process of its own, and a process group, for each test: one that hangs or crashes takes nothing
with it and leaves nothing behind. A test marked `alone` shares the machine with no other; on an
emulated processor one that failed beside others runs once more alone.
"""
import contextlib
import fcntl
import gc
import multiprocessing
import os
import signal
import time

import pytest
from _pytest.runner import runtestprotocol

from . import daemon, host
from .plugin import LIMIT, RUN

GRACE_S = 20                    # for pytest-timeout's own end of the test, with evidence
SECOND_TRIES = 5                # more failures than these are no accident


@contextlib.contextmanager
def locked(path, how):
    with open(path, "a", encoding="ascii") as f:
        fcntl.flock(f, how)
        yield


@contextlib.contextmanager
def place(run, alone):
    """The right to run: beside others, or ALONE. Who waits to be alone holds the door, so that no
    stream of others keeps it out."""
    with contextlib.ExitStack() as door:
        door.enter_context(locked(os.path.join(run.dir, "door"), fcntl.LOCK_EX))
        with locked(os.path.join(run.dir, "room"), fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            door.close()
            yield


def test_process(item, pipe):
    """In the child: runs the test, sends its reports through PIPE."""
    os.setpgid(0, 0)
    daemon._die_with_parent()
    hook = item.config.hook
    reports = runtestprotocol(item, nextitem=None, log=False)
    pipe.send([hook.pytest_report_to_serializable(config=item.config, report=r) for r in reports])
    pipe.close()
    os._exit(0)


def lost(item, began, why):
    """The report of a test whose process gave none."""
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call",
                             duration=time.time() - began, start=began, stop=time.time())


def in_a_process(item):
    """The reports of ITEM, which ran in a child that is gone with all that it started."""
    began, limit_s = time.time(), item.stash[LIMIT] + GRACE_S * item.config.stash[RUN].slow
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=test_process, args=(item, theirs))
    gc.freeze()                 # the child's collector touches none of the memory that is shared
    child.start()
    theirs.close()
    try:
        if not ours.poll(limit_s):
            return [lost(item, began, "not done after %d s" % limit_s)]
        from_data = item.config.hook.pytest_report_from_serializable
        return [from_data(config=item.config, data=d) for d in ours.recv()]
    except EOFError:
        child.join(1)
        return [lost(item, began, "the test's process ended with status %s" % child.exitcode)]
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.join()
        ours.close()


def may_try_again(run, reports):
    """Four tests at a time on an emulated processor can keep a peer waiting past every timer, and that
    looks like a fault of the daemon. What a sanitizer has reported is not an accident."""
    failed = [r for r in reports if r.failed]
    said = "".join(r.longreprtext + "".join(text for _, text in r.sections) for r in failed)
    if not failed or not host.emulated_cpu() or "Sanitizer" in said:
        return False
    with open(os.path.join(run.dir, "second-tries"), "a", encoding="ascii") as f:
        f.write("x")
        return f.tell() <= SECOND_TRIES


def reports_of(item):
    run, alone = item.config.stash[RUN], bool(item.get_closest_marker("alone"))
    with place(run, alone):
        reports = in_a_process(item)
    if may_try_again(run, reports):
        for r in reports:
            if r.failed:
                r.outcome = "miss"
                yield r
        with place(run, alone=True):
            reports = in_a_process(item)
    yield from reports


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if item.config.option.usepdb:
        return None             # a debugger wants the terminal, which only this process has
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports_of(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True

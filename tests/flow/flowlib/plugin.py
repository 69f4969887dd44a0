# SPDX-License-Identifier: Apache-2.0
"""The tests under pytest: options, what the tests of a run share, which of them run, the fixture `t`
and the verdict on its daemons.

isolation.py gives each test a process of its own, report.py prints the lines.
"""
import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

from . import host
from .env import Env

RUN, LEFT_OUT = pytest.StashKey(), pytest.StashKey()
INDEX, LIMIT = pytest.StashKey(), pytest.StashKey()
LIMIT_S = 90                    # of a test without @pytest.mark.timeout, on a fast machine


def pytest_addoption(parser):
    group = parser.getgroup("tieline")
    group.addoption("--filter", default="", metavar="RE", help="regular expression on test names")
    group.addoption("--hostile", type=float, metavar="SECONDS", help="how long the storm blows")
    group.addoption("--seed", type=int, default=int(time.time()), help="of the storm")
    group.addoption("--keep", action="store_true", help="keep the working directory")
    group.addoption("--everywhere", action="store_true",
                    help="in the kernel-TLS machine run those marked host_only, too")


# ---- what the tests of a run share ---------------------------------------------------------------

def run_facts(config):
    """The facts of this run, for all its processes: the binary, what it and the processor are, where
    to work, where the certificates and the first port are."""
    tieline = host.tieline()
    sanitized = host.sanitizer_in(tieline)
    slow = float(os.environ.get("TIELINE_SLOW") or
                 (6 if host.emulated_cpu() else 1) * (3 if sanitized else 1))
    work = tempfile.mkdtemp(prefix="tieline-test.")
    return {"tieline": tieline, "sanitized": sanitized, "slow": slow, "dir": work,
            "kernel_tls": host.kernel_tls_here(), "pki": make_pki(work),
            "port_base": 17000 + os.getpid() % 7 * 1000,
            "hostile": config.option.hostile, "seed": config.option.seed}


def make_pki(work):
    """The certificates: build/pki of the tree if it is there or can be made, else a fresh set."""
    script = os.path.join(host.TOP, "tests", "support", "pki")
    for where in (os.path.join(host.TOP, "build", "pki"), os.path.join(work, "pki")):
        p = subprocess.run([script, where], capture_output=True, text=True, check=False)
        if p.returncode == 0:
            return where
    shutil.rmtree(work, ignore_errors=True)
    pytest.exit("cannot make certificates: " + p.stderr, returncode=1)


def is_worker(config):
    return hasattr(config, "workerinput")


def pytest_configure(config):
    if is_worker(config):
        config.stash[RUN] = argparse.Namespace(**config.workerinput["run"])
    elif not config.option.collectonly:
        config.stash[RUN] = argparse.Namespace(**run_facts(config))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["run"] = vars(node.config.stash[RUN])


def pytest_unconfigure(config):
    run = config.stash.get(RUN, None)
    if run and not is_worker(config):
        if config.option.keep:
            print("kept: " + run.dir)
        else:
            shutil.rmtree(run.dir, ignore_errors=True)


# ---- which tests ---------------------------------------------------------------------------------

def world_of(item):
    """The nearest of the marks kernel_tls and host_only: a function's before its module's."""
    return next((m for m in item.iter_markers() if m.name in ("kernel_tls", "host_only")), None)


def runs_here(item, config):
    """False for what the kernel-TLS machine need not repeat."""
    mark = world_of(item)
    return config.option.everywhere or not mark or mark.name != "host_only" or \
        not os.environ.get("TIELINE_VM")


def pytest_collection_modifyitems(config, items):
    chosen = [i for i in items if re.search(config.option.filter, i.name)]
    here = [i for i in chosen if runs_here(i, config)]
    config.hook.pytest_deselected(items=[i for i in items if i not in here])
    config.stash[LEFT_OUT] = len(chosen) - len(here)
    items[:] = here
    if RUN in config.stash:
        for index, item in enumerate(items):
            item.stash[INDEX] = index
            limit = item.get_closest_marker("timeout")
            limit_s = (limit.args[0] if limit else LIMIT_S) * config.stash[RUN].slow
            item.stash[LIMIT] = limit_s
            item.add_marker(pytest.mark.timeout(limit_s, func_only=True), append=False)


# ---- a test and its end --------------------------------------------------------------------------

@pytest.fixture(name="t")
def env(request):
    t = Env(request.config.stash[RUN], request.node.stash[INDEX], request.node.name)
    yield t
    t.abandon()


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Behind the test's last line its daemons are judged: at rest, nothing left, ended with 0."""
    outcome = yield
    outcome.get_result()
    pyfuncitem.funcargs["t"].finish()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds to a failure what the daemons and the helpers said."""
    outcome = yield
    report, t = outcome.get_result(), getattr(item, "funcargs", {}).get("t")
    if t and report.failed and call.when == "call":
        for d in t.daemons:
            if d.proc:
                report.sections.append(("the daemon", "\n".join(d.evidence())))
        if t.helpers_said():
            report.sections.append(("programs", t.helpers_said()))

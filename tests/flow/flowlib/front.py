# SPDX-License-Identifier: Apache-2.0
"""The command line of tests/flow/run and tests/conformance/run: a thin front of pytest."""
import argparse
import contextlib
import io
import os
import sys

from . import host


def options(what, jobs):
    ap = argparse.ArgumentParser(description=what, epilog="Names of files, and what follows --, go to pytest.")
    ap.add_argument("--filter", default="", metavar="RE", help="regular expression on test names")
    ap.add_argument("--jobs", type=int, default=jobs, help="tests at the same time, default %d" % jobs)
    ap.add_argument("--hostile", type=float, metavar="SECONDS",
                    help="the storm of hostile/ for so long instead; wants a build with a sanitizer")
    ap.add_argument("--seed", type=int, help="of the storm")
    ap.add_argument("--list", action="store_true", help="print the names and end")
    ap.add_argument("--keep", action="store_true", help="keep the working directory")
    ap.add_argument("--everywhere", action="store_true",
                    help="in the kernel-TLS machine run those marked host_only, too")
    ap.add_argument("--itself", action="store_true", help=argparse.SUPPRESS)     # see selftest
    ap.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    return ap.parse_args()


def arguments(o, folder):
    """Those of pytest for the options O."""
    out = ["-c", os.path.join(host.TOP, "tests", "pytest.ini"), "-n", str(o.jobs), "--filter", o.filter]
    out += ["--hostile", str(o.hostile)] if o.hostile else []
    out += ["--seed", str(o.seed)] if o.seed is not None else []
    out += ["--keep"] * o.keep + ["--everywhere"] * o.everywhere + o.more
    # Files that are named take the place of the folder: pytest must not meet a test twice.
    if any(os.path.exists(word.split("::")[0]) for word in o.more):
        return out
    return out + [os.path.join(folder, "hostile" if o.hostile else "itself" if o.itself else "")]


class Names:
    """Keeps the names of what pytest has collected."""

    def __init__(self):
        self.names = []

    def pytest_collection_finish(self, session):
        self.names = [item.name for item in session.items]


def print_names(pytest, argv):
    """Nothing but the names on stdout."""
    collected, said = Names(), io.StringIO()
    with contextlib.redirect_stdout(said):
        status = pytest.main(argv + ["-n0", "--collect-only"], [collected])
    print("\n".join(collected.names) if status == 0 else said.getvalue())
    return status


def cannot_run():
    """Why no test can run here, or None."""
    if os.environ.get("TIELINE_VM") and not host.kernel_tls_here():
        return "this is the kernel-TLS machine, but its kernel attaches no TLS to sockets"
    if not os.access(host.tieline(), os.X_OK):
        return "no daemon at %s: build it first, or set TIELINE" % host.tieline()
    return None


def main(folder, what, jobs):
    # Compiled tests are kept where the build is, for this run's processes and for the machine's.
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(host.TOP, "build", "pycache")
    sys.dont_write_bytecode = False
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest
    o = options(what, jobs)
    if o.list:
        return print_names(pytest, arguments(o, folder))
    why = cannot_run()
    if why:
        print(why)
        print("0 passed, 1 failed")
        return 1
    return pytest.main(arguments(o, folder))

# SPDX-License-Identifier: Apache-2.0
"""What a run prints: a line for each test (ok, FAIL or skip, with the reason; miss for a first try that
does not count), and as its last line the sum.
"""
import pytest

from .plugin import LEFT_OUT, RUN, is_worker

WORDS = {"passed": "ok", "failed": "FAIL", "skipped": "skip"}


class Reporter:
    """Prints in the process that was started; its workers stay silent."""

    def __init__(self, config):
        self.config, self.tally = config, dict.fromkeys(WORDS, 0)
        self.of_test = {}               # node id -> reports of a test under way
        self.left_out = 0

    def write(self, line=""):
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(line)
        terminal.flush()

    def pytest_report_teststatus(self, report):
        """No letters and no list of failures at the end: the lines say it."""
        return ("" if report.when != "call" and report.passed else WORDS.get(report.outcome, "miss"),
                "", "")

    def pytest_sessionstart(self):
        run = self.config.stash.get(RUN, None)
        if run:
            where = "the kernel" if run.kernel_tls else "user space (this kernel has no TLS)"
            self.write("tests: records in %s, %s at a time" % (where, self.config.option.numprocesses
                                                              or "one"))

    def pytest_runtest_logreport(self, report):
        if report.outcome == "miss":
            self.line("miss", report)
        elif report.when not in ("setup", "call", "teardown"):      # a worker of xdist died in it
            self.tally["failed"] += 1
            self.line("FAIL", report)
        else:
            self.of_test.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid):
        reports = self.of_test.pop(nodeid, None)
        if not reports:
            return
        worst = min(reports, key=lambda r: ("failed", "skipped", "passed").index(r.outcome))
        self.tally[worst.outcome] += 1
        self.line(WORDS[worst.outcome], worst, sum(r.duration for r in reports))

    def line(self, word, report, seconds=None):
        name = report.nodeid.rpartition("::")[2]
        if report.skipped:
            expected = getattr(report, "wasxfail", None)
            self.write("skip %s: %s" % (name, expected or report.longrepr[2].removeprefix("Skipped: ")))
            return
        self.write("%-4s %s (%.1f s)%s" % (word, name,
                                           report.duration if seconds is None else seconds,
                                           self.reason(report)))
        if not report.passed:
            for title, text in [("", report.longreprtext)] + report.sections:
                self.write_indented(("-- %s:\n" % title if title else "") + text)

    @staticmethod
    def reason(report):
        """The first line of what a failed test says, so that a list of names tells it, too."""
        crash = getattr(report.longrepr, "reprcrash", None)
        return ": " + crash.message.splitlines()[0][:300] if crash and crash.message else ""

    def write_indented(self, text):
        for text_line in text.rstrip().splitlines():
            self.write("       " + text_line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """Each worker has collected all tests."""
        self.left_out = getattr(node, "workeroutput", {}).get("left_out", self.left_out)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter):
        if self.left_out:
            self.write("%d tests are for the host alone: tests/lint/worlds.py --list" % self.left_out)
        broken = terminalreporter.stats.get("error", [])        # modules that cannot be read
        passed, failed, skipped = (self.tally[k] for k in ("passed", "failed", "skipped"))
        self.write("%d passed, %d failed%s" % (passed, failed + len(broken),
                                               ", %d skipped" % skipped if skipped else ""))


def pytest_collection_finish(session):
    reporter = session.config.pluginmanager.get_plugin("tieline-reporter")
    if is_worker(session.config):
        session.config.workeroutput["left_out"] = session.config.stash[LEFT_OUT]
    elif reporter and LEFT_OUT in session.config.stash:
        reporter.left_out = session.config.stash[LEFT_OUT]


def pytest_configure(config):
    if not is_worker(config) and not config.option.collectonly:
        config.pluginmanager.register(Reporter(config), "tieline-reporter")

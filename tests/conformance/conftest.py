# SPDX-License-Identifier: Apache-2.0
"""For pytest: each rule runs once for each transport that it is marked with."""
import kit
import pytest


def pytest_generate_tests(metafunc):
    if "c" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("over")
        metafunc.parametrize("c", mark.args if mark else kit.TRANSPORTS, indirect=True)


@pytest.fixture(name="c")
def rule(t, request):
    return kit.Rule(t, request.param)

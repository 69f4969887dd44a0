# SPDX-License-Identifier: Apache-2.0
"""For pytest: how flow and conformance tests are run is said in flowlib."""
import pytest

pytest.register_assert_rewrite("flowlib.steps")
pytest_plugins = ("flowlib.plugin", "flowlib.isolation", "flowlib.report")

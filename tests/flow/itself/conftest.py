# SPDX-License-Identifier: Apache-2.0
"""What failed runs once more, as it does on an emulated processor."""
from flowlib import host

host.emulated_cpu = lambda: True

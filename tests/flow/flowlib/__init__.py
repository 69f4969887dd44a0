# SPDX-License-Identifier: Apache-2.0
"""The flow tests' own SIP peers, daemon control and plugins of pytest. Peers need the standard library
only."""

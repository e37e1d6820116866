# SPDX-License-Identifier: GPL-2.0-or-later
"""What people see of a result: on a terminal, and in one HTML file."""

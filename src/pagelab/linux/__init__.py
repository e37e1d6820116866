# SPDX-License-Identifier: GPL-2.0-or-later
"""The model: what Linux does.  Procedures carry the kernel's names and follow its steps; docs say where they do not."""

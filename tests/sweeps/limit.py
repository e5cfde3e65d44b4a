"""Imported by a forked command of a sweep: it gets no more than 6 GiB of memory."""

import resource

resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))

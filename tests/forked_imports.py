"""What programs of larpo import, for the process that those of the tests are forked from: seconds of every start."""

from __future__ import annotations

import gc

from larpo_lib import logs

logs.set_up()  # before the libraries that speak when they are imported


import larpo_lib.loop  # noqa: E402
import larpo_lib.studies  # noqa: E402
import larpo_lib.training.fit  # noqa: E402, F401

gc.collect()
gc.freeze()  # every training begins with a full garbage collection, which would look at all of it

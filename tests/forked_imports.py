"""What programs of larpo import, for the process that those of the tests are forked from: seconds of every start."""

import gc
import importlib

from larpo_lib import logs

logs.set_up()  # before the libraries that speak when they are imported
for name in (
    "deepspeed.runtime.zero.muon.muon_optimizer",  # with the compiler, which every engine of DeepSpeed imports
    "larpo_lib.cli",
    "larpo_lib.evaluation",
    "larpo_lib.loop",
    "larpo_lib.studies.run",
    "larpo_lib.training.fit",
    "matplotlib.pyplot",
    "mlflow.store.tracking.sqlalchemy_store",
    "transformers.trainer",
):
    importlib.import_module(name)
importlib.import_module("figures").saved_in_name().start()
gc.collect()
gc.freeze()  # every training begins with a full garbage collection, which would look at all of it

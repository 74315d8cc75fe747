"""What the server of ``tests.warm`` imports last: what every command does first is done once, and stays as it is.

Hydra's grammars are slow until they have read something. What is imported is no garbage: a collection in a process that
is forked would look at all of it, and copy the memory that it marks.
"""

import gc

from mmdiff.config import plugins
from mmdiff.config.overrides import composed

composed("train", ["run=none", "log.every=1", "adapter.reader.seconds=0.25"])
plugins.installed.cache_clear()                                       # a command may have others on its path
gc.collect()
gc.freeze()

"""Runs one Swift server whose swift.conf is not in /etc/swift: launch.py DIRECTORY MODULE ARGUMENT…

Swift reads /etc/swift/swift.conf while it is imported. Its own option swift_dir comes later and does not read
the limits and the storage policies again, so that is done here, before the server starts.
"""

import importlib
import sys

from swift.common import constraints, storage_policy, utils

directory, module, *arguments = sys.argv[1:]
utils.set_swift_dir(directory)
constraints.reload_constraints()
storage_policy.reload_storage_policies()
sys.argv = [module, *arguments]
importlib.import_module(module).main()

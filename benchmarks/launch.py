"""Run a command and report, as JSON, its seconds and its peak memory in GB.

A process's peak counts what its parent held when it was forked, so this small one stands in between.
"""

import json
import resource
import subprocess
import sys
import time

start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
error = done.stderr.decode(errors="replace")[-2000:]
print(json.dumps({"code": done.returncode, "seconds": seconds, "peak_gb": peak, "error": error}))

"""Measure gpuseg on this machine's card.

python3 -m benchmarks.gpu [--quick] [--only flat kernels] [--out FOLDER]
"""

import sys

from benchmarks.gpu.run import main

sys.exit(main())

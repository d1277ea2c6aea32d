"""Measure everything, or some sections: python benchmarks/run.py [--only planes forest] [--quick]

Sections: planes forest image volume training objects pipeline start memory. A full-size run adds a file to
`results/` and fills the tables; `--quick` (small inputs, no prototypes) only prints, unless `--out FILE` is
given.
"""

import os
import sys

if __name__ == "__main__":
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # settings of this shell, not of NumPy's makers
        os.environ.pop(name, None)
    os.environ["NUMBA_THREADING_LAYER"] = (
        "workqueue"  # as the prototypes were made; gpuseg has its own threads
    )
    from benchmarks.session import main  # late: NumPy's BLAS reads the environment when it loads

    sys.exit(main())

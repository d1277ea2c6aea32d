#!/usr/bin/env bash
# All that a CUDA machine can prove about gpuseg, in one command: tools/gpu_check.sh [--quick]
#
# Nothing is installed and no network is needed: Python 3.11 or newer with CuPy, NumPy, SciPy, Numba, h5py,
# scikit-learn, scikit-image, tifffile, pytest, hypothesis, safetensors, typer, rich. What else is absent is skipped
# by name. A failed step does not keep the next from running; the exit code is 1 if any failed. At most ten minutes.
#
#   PYTHON      the interpreter (python3)
#   OUT         folder for logs, junit.xml, DATE-CARD.json and table.md (gpu_check)
#   SITE        a folder or .tar.xz of packages to compare with: cuCIM, nvForest, cuML's forest
#   SANITIZER   compute-sanitizer
#   GPUSEG_COMMIT   what to call the code in results, where the checkout is a copy without history
#   --quick     small images: a rehearsal
set -uo pipefail

if [ $# -gt 1 ] || { [ $# -eq 1 ] && [ "$1" != --quick ]; }; then
  echo "usage: tools/gpu_check.sh [--quick]" >&2
  exit 2
fi
HERE=$(cd "$(dirname "$0")/.." && pwd) || exit 2
OUT=${OUT:-gpu_check}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
[ -n "${SITE:-}" ] && SITE=$(realpath "$SITE")
cd "$HERE" || exit 2

export PYTHON=${PYTHON:-python3} PYTHONPATH=$HERE GPUSEG_REQUIRE_GPU=1 PYTHONDONTWRITEBYTECODE=1
SANITIZER=${SANITIZER:-compute-sanitizer}
SCRATCH=$(mktemp -d) || exit 2
trap 'rm -rf "$SCRATCH"' EXIT
export NUMBA_CACHE_DIR=$SCRATCH/numba CUPY_CACHE_DIR=$SCRATCH/cupy # compiled once, for all steps
SUMMARY=()
FAILED=0

# step NAME LOG SECONDS COMMAND...: output goes to $OUT/LOG, its end is shown; a failure is remembered.
step() {
  local name=$1 log=$OUT/$2 limit=$3 start=$SECONDS code verdict=passed
  shift 3
  echo "== $name (at most $limit s): $*" | tee -a "$log"
  timeout -k 10 "$limit" "$@" >"$SCRATCH/output" 2>&1
  code=$?
  cat "$SCRATCH/output" >>"$log"
  tail -n 20 "$SCRATCH/output"
  [ $code -ne 0 ] && FAILED=1 verdict="FAILED with exit code $code"
  [ $code -eq 124 ] && verdict="FAILED, not done after $limit s"
  SUMMARY+=("$(printf '%-12s %4d s  %s' "$name" $((SECONDS - start)) "$verdict")")
}

environment() {
  nvidia-smi && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv &&
    "$PYTHON" -m gpuseg doctor && "$PYTHON" -c "from gpuseg.backends import get_backend; get_backend('cuda')"
}
export -f environment

case ${SITE:-} in
  "") echo "SITE is not set: comparisons with cuCIM, nvForest and cuML are skipped unless python3 has them" ;;
  *.tar.xz)
    mkdir "$SCRATCH/site" && tar -xf "$SITE" -C "$SCRATCH/site" || FAILED=1
    PYTHONPATH=$HERE:$SCRATCH/site
    ;;
  *) PYTHONPATH=$HERE:$SITE ;;
esac

step environment environment.log 30 bash -c environment
step tests tests.log 150 "$PYTHON" -m pytest -m "gpu and not soak" -W default -q -p no:cacheprovider \
  -o junit_family=xunit1 --junitxml "$OUT/junit.xml" \
  tests/gpu tests/backends tests/kernels tests/regression/test_platforms.py
step benchmarks benchmarks.log 240 "$PYTHON" -m benchmarks.gpu --out "$OUT" "$@"
for tool in memcheck racecheck synccheck initcheck; do
  step $tool sanitizer.log 40 "$SANITIZER" --tool $tool --error-exitcode 9 --print-limit 20 \
    "$PYTHON" tests/gpu/every_kernel.py
done

echo "== summary, results in $OUT"
printf '%s\n' "${SUMMARY[@]}" | tee "$OUT/summary.txt"
exit $FAILED

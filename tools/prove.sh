#!/usr/bin/env bash
# The full counts: every test, ThreadSanitizer over the unit tests, every fuzzer for a minute, the soak, the failover, the ledger and
# the template differential at size. The log goes to bench/results/.
set -euo pipefail

log="bench/results/prove-$(date -u +%Y-%m-%d).log"
mkdir -p bench/results
{
  echo "commit $(git rev-parse --short HEAD), $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(date -u +%FT%TZ)"
  make --no-print-directory test
  make --no-print-directory tsan
  make --no-print-directory fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-60}"
  TW_SOAK_ROUNDS="${SOAK_ROUNDS:-200}" ctest --test-dir build --verbose --no-tests=error -R binary.soak
  TW_FAILOVER_REQUESTS="${FAILOVER_REQUESTS:-2000}" ctest --test-dir build --verbose --no-tests=error -R binary.failover
  TW_LIES="${LIES:-20}" TW_MONEY_CLIENTS="${MONEY_CLIENTS:-5000}" TW_MONEY_ROUNDS="${MONEY_ROUNDS:-50}" TW_MONEY_KILLS="${MONEY_KILLS:-1000}" TW_MONEY_CRASHES="${MONEY_CRASHES:-40}" \
    ctest --test-dir build --verbose --no-tests=error -R 'binary.(money|crash_points|reconcile|liars)'
  TW_LEDGER_SEEDS="${LEDGER_SEEDS:-5000}" ctest --test-dir build --output-on-failure --no-tests=error -R Simulator
  TW_PROPERTY_CASES="${PROPERTY_CASES:-1000000}" ctest --test-dir build --output-on-failure --no-tests=error --timeout 7200 \
    -R '^(Cost\.(OfMore|EqualsWhole)|CostParts\.AddUp|WorstCase\.IsNever|UnitsOracle|BookProperty)'
  TW_POWER_CUTS="${POWER_CUTS:-10000}" TW_DATABASE_CUTS="${DATABASE_CUTS:-2000}" ctest --test-dir build --output-on-failure --no-tests=error -R "PowerCuts|DiskFault"
  python3 -B tests/mutants/run.py build/ledger_mutants
  TW_TEMPLATE_CASES=10000 ctest --test-dir build --output-on-failure --no-tests=error -R differential
} 2>&1 | tee "$log"

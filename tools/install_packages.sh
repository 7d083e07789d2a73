#!/usr/bin/env bash
# Installs what Tradewind builds and tests with on Debian 12. Says what it installs; uses sudo only when not root.
# Usage: tools/install_packages.sh build|test|bench
set -euo pipefail

need=${1:-build}
build_packages=(
  clang-19 lld-19 libclang-rt-19-dev libstdc++-12-dev ccache cmake ninja-build pkg-config ca-certificates
  libboost1.81-dev libboost-json1.81-dev libfmt-dev libspdlog-dev libcli11-dev libtomlplusplus-dev
  libpcre2-dev libutf8proc-dev libsqlite3-dev libsodium-dev libhowardhinnant-date-dev tzdata libssl-dev zlib1g-dev libsimdjson-dev libgtest-dev libbenchmark-dev
  python3 python3-venv python3-pip unzip curl)
# zsh and fish parse their completion scripts; openssl makes the certificates of tests.
test_packages=(clang-format-19 clang-tidy-19 zsh fish openssl)
# What the gateway is measured beside.
bench_packages=(nginx-light)

packages=("${build_packages[@]}")
[ "$need" = build ] || packages+=("${test_packages[@]}")
[ "$need" != bench ] || packages+=("${bench_packages[@]}")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "not root and no sudo: install the packages above, then run make again" >&2; exit 1; }
  sudo=sudo
fi
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

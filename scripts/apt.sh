#!/bin/bash
# Installs the Debian packages that are missing: `scripts/apt.sh build`, or `test` for both sets.
# Fast when none is: the second `make run` has seconds, so apt is not even asked.
set -euo pipefail

packages=(g++ cmake ninja-build ccache mold pkg-config python3-venv ca-certificates
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  prometheus-cpp-dev libmicrohttpd-dev libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev
  libjpeg62-turbo-dev libspng-dev libwebp-dev libicu-dev libgtest-dev libgmock-dev libbenchmark-dev)
case "${1:-build}" in
  build) ;;
  test) packages+=(clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev zsh fish) ;;
  image) packages=(buildah debootstrap) ;;
  *) echo "apt.sh: '$1' is none of build, test, image" >&2; exit 2 ;;
esac

command -v dpkg-query >/dev/null || {
  echo "apt.sh: this is not Debian; have these packages' like installed: ${packages[*]}" >&2
  exit 2
}
installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF "ii $package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing from Debian: ${missing[*]}"
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -q
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
  "${missing[@]}"

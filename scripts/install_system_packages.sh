#!/bin/bash
# Install Debian packages that are not there yet, with sudo if need be; prints what it does.
set -euo pipefail
missing=()
for package in "$@"; do
    case $package in
        # A program from elsewhere on PATH serves as well as the package.
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
        gcc) command -v gcc >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "Debian packages are missing, and there is no sudo here. Please run as root:" >&2
        echo "    apt-get install ${missing[*]}" >&2
        echo "and then the same make command again." >&2
        exit 1
    }
    sudo=(sudo)
fi
echo "installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

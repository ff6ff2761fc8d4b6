#!/usr/bin/env bash
# Installs what the tests need into the active Python environment, then runs all checks and tests.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(xvfb libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4
  ffmpeg libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xfixes0)
if command -v apt-get >/dev/null && ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${packages[@]}" >/dev/null
fi
python -m pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
python -m pip install --quiet -c constraints.txt -e '.[all,foundation]' --group dev

bash tests/checks.sh
if command -v xvfb-run >/dev/null; then
  xvfb-run -a python -m pytest "$@"
else
  python -m pytest "$@"
fi

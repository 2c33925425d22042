#!/bin/sh
# publish.sh FOLDER VERSION: publishes the tarballs in the folder, each after those that it depends on.
set -eu

folder=$1
version=$2
for name in @socksify/core @socksify/env @socksify/agent @socksify/undici socksify; do
  # A release that failed half-way is run again, and a registry takes each version once.
  if [ "$(npm view "$name@$version" version 2>/dev/null)" = "$version" ]; then
    echo "$name@$version is published already"
  else
    npm publish --access public "$folder/$(echo "${name#@}" | tr / -)-$version.tgz"
  fi
done

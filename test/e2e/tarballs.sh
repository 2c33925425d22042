#!/bin/sh
# Checks the packages as a registry would take and serve them: the manifests by publint, the types by attw, a dry run of
# publishing, and an install whose dependencies come from the registry. Run by `pnpm run tarballs`, which builds first.
set -eu

tarballs=$(mktemp -d)
trap 'rm -rf "$tarballs"' EXIT
pnpm --recursive --filter './packages/*' pack --pack-destination "$tarballs" >/dev/null
for tarball in "$tarballs"/*.tgz; do
  publint --strict "$tarball"
  attw --quiet --profile esm-only "$tarball"
done

if [ "${CI:-}" != true ] && ! npm view agent-base version >/dev/null 2>&1; then
  echo 'SKIPPED: there is no connection to a registry, so neither publishing nor an install from it was tried'
  exit
fi
pnpm --recursive publish --dry-run --no-git-checks
cd "$tarballs"
echo '{ "private": true, "type": "module" }' >package.json
npm install --no-audit --no-fund ./*.tgz
for name in @socksify/agent @socksify/core @socksify/env @socksify/undici socksify; do
  node --eval "import('$name').then((all) => console.log('$name:', ...Object.keys(all)))"
done

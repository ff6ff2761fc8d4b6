#!/usr/bin/env bash
# Style, spelling, types, the layers of the architecture, the manifest of napari and the files for GitHub; needs the group "dev".
set -euo pipefail
cd "$(dirname "$0")/.."

ruff check
ruff format --check
codespell
mypy
lint-imports
npe2 validate napari_pml
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*_*.yml
check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

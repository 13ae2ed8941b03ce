#!/usr/bin/env bash
# Copies an installed PostgreSQL into a private, relocatable prefix, so that building and testing the extension never touch the
# server that the machine runs.  PostgreSQL finds its share and lib folders relative to its own binary, so a copy just works.
#   prefix.sh VERSION DIR      afterwards DIR/lib/postgresql/VERSION/bin/pg_config describes the copy
set -euo pipefail
version=$1 dir=$2
mkdir -p "$dir"/{lib,share,include}/postgresql
cp -a "/usr/lib/postgresql/$version" "$dir/lib/postgresql/"
cp -a "/usr/share/postgresql/$version" "$dir/share/postgresql/"
cp -aL /usr/include/postgresql/. "$dir/include/postgresql/"
# pg_regress looks for contrib-like files beside the server's own
"$dir/lib/postgresql/$version/bin/pg_config" --pgxs

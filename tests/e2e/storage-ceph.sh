#!/usr/bin/env bash
# The same on a real Ceph, with keys.
STORE=ceph exec "$(dirname "$0")/storage.sh"

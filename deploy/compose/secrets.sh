#!/bin/sh
# Makes up passwords for compose.yaml, once. The files are readable for the users inside the containers, the folder
# only for you.
set -eu
cd "$(dirname "$0")"
mkdir -m 700 secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; } # hexadecimal: safe wherever it is put
password=$(random)
printf '%s' "$password" >secrets/db-password
printf 'db:5432:app:modulo:%s\n' "$password" >secrets/pgpass
random >secrets/broker-password
chmod 644 secrets/*

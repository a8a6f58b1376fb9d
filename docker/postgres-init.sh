#!/bin/sh
# Runs once, when the volume is new: one database and one owner for each of records, Airflow and MLflow, so that
# none of them can read another's tables.
set -eu
make_database() { # NAME PASSWORD
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set name="$1" --set password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}
make_database records "$RECORDS_DB_PASSWORD"
make_database airflow "$AIRFLOW_DB_PASSWORD"
make_database mlflow "$MLFLOW_DB_PASSWORD"

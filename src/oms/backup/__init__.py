"""`oms backup` and `oms restore`: the record as one file, made and read by PostgreSQL's own tools.

manifest    what a backup says of itself
archive     the file: a tar of the manifest and pg_dump's custom format, named only when it is whole
tools       pg_dump, pg_restore and psql of the major version that everything here runs on
make        a backup of one moment
restore     into an empty database, or in the place of another, all or nothing
shelf       the folder of backups: names, retention
"""

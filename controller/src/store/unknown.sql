-- Records that a newer node sent and that this version could not read: an unknown kind, or an unknown word in it. They were
-- acknowledged, so they are kept, whole and as they came; a version that reads them takes them into the log when it starts.
CREATE TABLE unknown_records (
    host     TEXT NOT NULL,
    spool_id BLOB NOT NULL,
    lane     INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    time_us  INTEGER NOT NULL,
    why      TEXT NOT NULL,
    record   BLOB NOT NULL,
    PRIMARY KEY (host, spool_id, lane, seq)
) WITHOUT ROWID;

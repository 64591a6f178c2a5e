-- Names whose certificates were revoked: whatever was issued to one before `revoked_us` opens nothing, also if its serial
-- is not known here (a database that was restored from a backup).
CREATE TABLE revocations (
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    revoked_us INTEGER NOT NULL,
    who        TEXT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (role, name)
) WITHOUT ROWID;
CREATE INDEX certificates_revoked ON certificates (expires_us) WHERE revoked_us IS NOT NULL;

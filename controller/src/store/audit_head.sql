-- How far the audit trail has come, as the controller remembers it: it is changed in the commit of each row. Rows that are taken
-- away at the end leave it behind, and what is written then goes on from here, with a gap that stays.
CREATE TABLE audit_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    n    INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head SELECT 1, n, hash FROM audit ORDER BY n DESC LIMIT 1;

DROP TRIGGER audit_at_the_end;
CREATE TRIGGER audit_at_the_end BEFORE INSERT ON audit
WHEN NEW.n <> (SELECT max(
    coalesce((SELECT max(n) FROM audit), 0), coalesce((SELECT n FROM audit_head), 0)
) + 1)
BEGIN SELECT RAISE (ABORT, 'the audit trail is append-only'); END;

-- Whose sign-in the homes of an account must hold: a name without meaning, another as soon as the alias may stand for somebody
-- else. Homes that were made before are of nobody known.
ALTER TABLE accounts ADD COLUMN owner BLOB NOT NULL DEFAULT x'';
UPDATE accounts SET owner = randomblob (16);

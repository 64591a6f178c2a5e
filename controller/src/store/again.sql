-- The run that was begun where this one failed: it is begun again once, for what that one does would be done twice.
ALTER TABLE runs ADD COLUMN again BLOB;

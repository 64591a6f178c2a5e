-- Runs are kept: how many of a workflow ended badly of late is asked inside commits, and must not read them all.
CREATE INDEX runs_bad ON runs (workflow, ended_us) WHERE state IN ('failed', 'unknown');

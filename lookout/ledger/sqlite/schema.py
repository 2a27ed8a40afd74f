"""The tables of a ledger in SQLite and their form number. Knows no rule: it says how things lie, not what they mean.

``WITHOUT ROWID`` where the key is the row; ``records`` keeps its row id because its bodies are large and only ever
appended. Partial indexes hold exactly what a query may ask for, so that finished slots cost the waiting ones nothing.
"""

from __future__ import annotations

from typing import Final

FORM: Final = 5
"""Raised whenever an older program could misread what a newer one wrote: tables, or the forms of ``codec``."""

_BATCHES: Final = """
CREATE TABLE batches (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, later INTEGER NOT NULL, run TEXT NOT NULL, created_at_s REAL NOT NULL,
    state TEXT NOT NULL, owner TEXT, token INTEGER NOT NULL, lease_end_s REAL NOT NULL, losses INTEGER NOT NULL,
    updated_at_s REAL NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX batches_open ON batches (later, id) WHERE state = 'open';
CREATE INDEX batches_held ON batches (owner, lease_end_s) WHERE owner IS NOT NULL;
CREATE INDEX batches_state ON batches (state, id);
CREATE INDEX batches_run ON batches (run, state, later, id);
CREATE TABLE batched (key TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_DOUBTS: Final = """
ALTER TABLE alerts ADD COLUMN doubts INTEGER NOT NULL DEFAULT 0;
UPDATE alerts SET doubts = 1 WHERE state = 'unknown' OR (tries > 1 AND state IN ('pending', 'dead', 'canceled'));
UPDATE alerts SET state = 'unknown' WHERE state = 'pending' AND doubts = 1;
UPDATE alerts SET open = 1 WHERE state = 'unknown';
"""

_POLICY: Final = """
CREATE TABLE policy (
    kind TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, first, second)) WITHOUT ROWID;
"""

UPGRADES: Final = {1: _BATCHES, 2: _DOUBTS, 3: "", 4: _POLICY}
"""What makes the tables of a form into those of the next one: only ever additions, so that a kill leaves either."""

_FIRST: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('token', 0), ('made', 0);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE owners (name TEXT PRIMARY KEY, since_s REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE inputs (
    bucket TEXT NOT NULL, key TEXT NOT NULL, origin TEXT NOT NULL,
    sha256 TEXT, size INTEGER, version TEXT,
    fingerprint TEXT NOT NULL, observed_at_s REAL NOT NULL, error TEXT,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE input_counts (
    bucket TEXT NOT NULL, origin TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (bucket, origin)) WITHOUT ROWID;
CREATE TABLE refs (
    bucket TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE bases (stage TEXT PRIMARY KEY, basis TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE records (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, stage TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE makers (
    bucket TEXT NOT NULL, key TEXT NOT NULL, record INTEGER NOT NULL, made INTEGER NOT NULL,
    PRIMARY KEY (bucket, key, record)) WITHOUT ROWID;
CREATE TABLE users (sha256 BLOB NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (sha256, hash)) WITHOUT ROWID;

CREATE TABLE slots (
    stage TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
    record INTEGER, grp TEXT, at_s REAL, label TEXT, outputs INTEGER NOT NULL DEFAULT 0,
    dirty INTEGER NOT NULL DEFAULT 0, token INTEGER NOT NULL DEFAULT 0, owner TEXT,
    lease_end_s REAL NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0, cohort INTEGER NOT NULL DEFAULT 0, salt TEXT NOT NULL DEFAULT '',
    error TEXT, updated_at_s REAL NOT NULL, proven INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stage, key)) WITHOUT ROWID;
CREATE INDEX slots_free ON slots (stage, suspect, cohort, key, dirty, owner) WHERE dirty > 0 AND owner IS NULL;
CREATE INDEX slots_held ON slots (owner, lease_end_s) WHERE owner IS NOT NULL;
CREATE INDEX slots_state ON slots (stage, state, key);
CREATE INDEX slots_labelled ON slots (stage, key) WHERE label IS NOT NULL;
CREATE INDEX slots_last ON slots (grp, at_s) WHERE at_s IS NOT NULL;
CREATE INDEX slots_members ON slots (grp, stage, key) WHERE outputs > 0;

CREATE TABLE paths (
    bucket TEXT NOT NULL, key TEXT NOT NULL, stage TEXT NOT NULL, slot TEXT NOT NULL,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, sha256 TEXT, size INTEGER, version TEXT,
    UNIQUE (bucket, key));
CREATE TABLE tallies (
    grp TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (grp, name)) WITHOUT ROWID;
CREATE TABLE groups (grp TEXT PRIMARY KEY, live INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE alerts (
    id TEXT PRIMARY KEY, created_at_s REAL NOT NULL, run TEXT NOT NULL, datum_hash TEXT NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL, due_at_s REAL NOT NULL, owner TEXT, message_id TEXT, error TEXT, settled_at_s REAL,
    withdrawn INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX alerts_open ON alerts (created_at_s, id) WHERE open = 1;
CREATE INDEX alerts_sending ON alerts (owner) WHERE owner IS NOT NULL;
CREATE INDEX alerts_datum ON alerts (datum_hash);
CREATE INDEX alerts_run ON alerts (run, state);
CREATE INDEX alerts_created ON alerts (created_at_s, id);
CREATE INDEX alerts_unsent ON alerts (created_at_s, id) WHERE state IN ('pending', 'sending', 'unknown');

CREATE TABLE runs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, started_at_s REAL NOT NULL, ended_at_s REAL,
    state TEXT NOT NULL, summary TEXT) WITHOUT ROWID;
CREATE INDEX runs_started ON runs (started_at_s, id);
CREATE INDEX runs_open ON runs (owner) WHERE state = 'running';
"""

SCHEMA: Final = _FIRST + _BATCHES + _DOUBTS + _POLICY

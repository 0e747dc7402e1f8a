-- Schema 1. Frozen: a change is a new numbered file beside this one, which only adds until nothing reads the old.
--
-- Numbers are big on purpose: whatever is written for every item is keyed so that new rows come at the end (arrival
-- first, or a growing number), and what is looked for among many is found by a partial index that holds only what is
-- looked for. Text that repeats is in `name` once. Every natural key has its space, itself or by the flow, source or
-- shelf that is part of it. Blobs begin with a byte that says their format.
--
-- Times are milliseconds since 1970 (UTC).

CREATE TABLE space (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO space (id, name) VALUES (1, 'default');

-- The numbers given last. None is given twice, also after rows are pruned.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    arrival INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    run INTEGER NOT NULL,
    task INTEGER NOT NULL,
    intent INTEGER NOT NULL,
    letter INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO counter (one, arrival, pass, run, task, intent, letter, seq) VALUES (1, 0, 0, 0, 0, 0, 0, 0);

-- Interned text: processors, destinations, actors.
CREATE TABLE name (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

-- A worker's right to settle; the id is its epoch.
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    worker TEXT NOT NULL,
    opened INTEGER NOT NULL,
    live INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_live ON lease (id) WHERE live = 1;

-- state: 0 disabled, 1 enabled, 2 deleting, 3 deleted. items, intents: outstanding. dead: open dead letters.
CREATE TABLE flow (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    state INTEGER NOT NULL,
    version INTEGER NOT NULL,
    base TEXT NOT NULL,
    items INTEGER NOT NULL DEFAULT 0,
    intents INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX flow_live ON flow (space, slug) WHERE state <> 3;
CREATE INDEX flow_slug ON flow (slug);

-- body: the canonical document with embedded code and locks, and the text as written.
CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    flow INTEGER NOT NULL,
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    UNIQUE (flow, hash)
) STRICT;

-- What is the same for many steps of the history. body: JSON.
CREATE TABLE context (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space,
    identity TEXT NOT NULL,
    UNIQUE (space, identity)
) STRICT;

-- mode: 0 live, 1 trial, 2 shadow. items, intents: outstanding. counts: numbers by processor.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    trigger TEXT NOT NULL,
    open INTEGER NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    items INTEGER NOT NULL DEFAULT 0,
    intents INTEGER NOT NULL DEFAULT 0,
    arrivals INTEGER NOT NULL DEFAULT 0,
    revisions INTEGER NOT NULL DEFAULT 0,
    unchanged INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    exported INTEGER NOT NULL DEFAULT 0,
    counts BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE INDEX run_flow ON run (flow);
CREATE INDEX run_open ON run (flow) WHERE finished IS NULL;

-- The source ledger, a row an arrival. known: whether the ledger counts it as the latest of its path (a trial's
-- arrivals are not). The space is the source's.
CREATE TABLE arrival (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    run INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    at INTEGER NOT NULL,
    known INTEGER NOT NULL,
    path BLOB NOT NULL,
    content BLOB NOT NULL,
    stat BLOB
) STRICT;
CREATE INDEX arrival_path ON arrival (source, path) WHERE known = 1;

-- The queue. seq: order of entry. lease: 0, or who claimed it. due: 0, or not before. suspect: a worker was lost
-- with it. items: their number. The items themselves are in `bundle`, so that a claim rewrites only this row.
CREATE TABLE task (
    id BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    space INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    run INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    input INTEGER NOT NULL,
    items INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    due INTEGER NOT NULL,
    suspect INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    fault TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX task_queue ON task (suspect, due, seq) WHERE lease = 0;
CREATE INDEX task_run ON task (run, suspect, due, seq) WHERE lease = 0;
CREATE INDEX task_due ON task (flow, due) WHERE lease = 0 AND due > 0;
CREATE INDEX task_lease ON task (lease) WHERE lease > 0;

CREATE TABLE bundle (
    seq INTEGER PRIMARY KEY,
    items BLOB NOT NULL
) STRICT;

-- What an aggregate keeps, by the hash of its own configuration, and the marks that closed groups leave.
CREATE TABLE held (
    flow INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    config BLOB NOT NULL,
    grouping BLOB NOT NULL,
    arrival INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    path BLOB NOT NULL,
    input INTEGER NOT NULL,
    run INTEGER NOT NULL,
    at INTEGER NOT NULL,
    item BLOB NOT NULL,
    PRIMARY KEY (flow, processor, config, grouping, arrival, pass, path, input)
) STRICT, WITHOUT ROWID;
CREATE TABLE held_group (
    flow INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    config BLOB NOT NULL,
    grouping BLOB NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    closed INTEGER,
    body BLOB,
    PRIMARY KEY (flow, processor, config, grouping)
) STRICT, WITHOUT ROWID;

-- Retries of aggregates, deadlines, schedules: unique by what they are for and when they are due.
CREATE TABLE timer (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    subject BLOB NOT NULL,
    due INTEGER NOT NULL,
    lease INTEGER NOT NULL DEFAULT 0,
    body BLOB,
    UNIQUE (flow, kind, subject, due)
) STRICT;
CREATE INDEX timer_due ON timer (due) WHERE lease = 0;

-- A shelf of one collect processor: what its dataset slots have in common. `flow` is the slug, so that a flow that
-- was deleted and saved again goes on with its datasets.
CREATE TABLE shelf (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    collection TEXT NOT NULL,
    flow TEXT NOT NULL,
    processor TEXT NOT NULL,
    datasets INTEGER NOT NULL DEFAULT 0,
    revisions INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (space, collection, flow, processor)
) STRICT;

-- Dataset slots (shelf, origin, slot) and their revisions. export: 0 none, 1 pending, 2 written, 3 superseded, 4 kept,
-- 5 refused. latest_*: the newest arrival and pass that came to the same, where it is another one; in the order of
-- these the revisions are numbered. within: an earlier revision was as new as this one when it came, so that the one
-- just before in that order may be further ahead by key.
CREATE TABLE revision (
    shelf INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    slot BLOB NOT NULL,
    arrival INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    latest_arrival INTEGER,
    latest_pass INTEGER,
    within INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    run INTEGER NOT NULL,
    version INTEGER NOT NULL,
    export INTEGER NOT NULL,
    target INTEGER,
    exported INTEGER,
    item BLOB NOT NULL,
    PRIMARY KEY (shelf, origin, slot, arrival, pass)
) STRICT, WITHOUT ROWID;

-- Names at destinations outside and whose they are: outside there are no spaces, so a name is owned once over all of
-- them. owner: the slot that wrote it last (written_*) or, where none did, that reserved it. base, number: of a
-- numbered name, the wanted one and the number; numbers: of a wanted name, how far its numbered names are taken.
-- head: the intent that is carried out next or now.
CREATE TABLE target (
    id INTEGER PRIMARY KEY,
    destination INTEGER NOT NULL,
    name BLOB NOT NULL,
    owner_origin INTEGER,
    owner_slot BLOB,
    written_arrival INTEGER,
    written_pass INTEGER,
    written_hash BLOB,
    base INTEGER,
    number INTEGER NOT NULL,
    numbers INTEGER NOT NULL DEFAULT 0,
    head INTEGER,
    UNIQUE (destination, name)
) STRICT;
CREATE INDEX target_numbered ON target (base, owner_origin, owner_slot, number) WHERE base IS NOT NULL;

-- What is to be done outside. kind: 0 release, 1 export. class (of the sink): 0 overwrite, 1 marker,
-- 2 deduplicates, 3 at least once. if_exists: 0 version, 1 overwrite, 2 fail, 3 keep. head: 1 where it is its
-- target's head, or has no target. uncertain: an attempt ended without anyone knowing how.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    space INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    run INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    due INTEGER NOT NULL,
    head INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    uncertain INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    source INTEGER,
    shelf INTEGER,
    origin INTEGER,
    slot BLOB,
    target INTEGER,
    number INTEGER,
    destination INTEGER,
    wanted BLOB,
    if_exists INTEGER,
    class INTEGER,
    item BLOB,
    fault TEXT
) STRICT;
CREATE INDEX intent_queue ON intent (due, arrival, pass, id) WHERE lease = 0 AND head = 1;
CREATE INDEX intent_due ON intent (flow, due) WHERE lease = 0 AND head = 1 AND due > 0;
CREATE INDEX intent_target ON intent (target, arrival, pass, id) WHERE target IS NOT NULL;
CREATE INDEX intent_lease ON intent (lease) WHERE lease > 0;

-- What a release intent lets go.
CREATE TABLE release (
    intent INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    source INTEGER NOT NULL,
    name BLOB NOT NULL,
    PRIMARY KEY (intent, ordinal)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX release_name ON release (source, name);

-- state: 0 open, 1 retried, 2 discarded. The columns from shelf on are of those where only the export failed.
CREATE TABLE letter (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    space INTEGER NOT NULL,
    flow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    run INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    input INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    state INTEGER NOT NULL,
    ended INTEGER,
    actor TEXT,
    reason TEXT,
    pass INTEGER,
    item BLOB NOT NULL,
    fault TEXT NOT NULL,
    log TEXT NOT NULL,
    shelf INTEGER,
    origin INTEGER,
    slot BLOB,
    arrival INTEGER,
    revision_pass INTEGER,
    destination INTEGER,
    wanted BLOB,
    if_exists INTEGER,
    class INTEGER
) STRICT;
CREATE INDEX letter_open ON letter (number) WHERE state = 0;
CREATE INDEX letter_flow ON letter (flow, number);
CREATE INDEX letter_run ON letter (run, number);

-- A person's change of a dead letter's item or of code, kept as a step: what it was and what it became.
CREATE TABLE edit (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    letter BLOB NOT NULL,
    pass INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    note TEXT,
    before BLOB NOT NULL,
    after BLOB NOT NULL
) STRICT;
CREATE INDEX edit_letter ON edit (letter);

-- A settlement's steps, found by the arrivals they concern: least and most. Nearly all span fewer than 4,096
-- arrivals, so that a range of `least` finds them; the others are few and found by the index of their own.
CREATE TABLE history (
    seq INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    run INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor INTEGER NOT NULL,
    least INTEGER NOT NULL,
    most INTEGER NOT NULL,
    steps BLOB NOT NULL
) STRICT;
CREATE INDEX history_span ON history (least, most);
CREATE INDEX history_wide ON history (least, most) WHERE most - least >= 4096;

-- Who may call, and what people did.
CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    actor TEXT NOT NULL,
    expires INTEGER,
    used INTEGER,
    revoked INTEGER,
    UNIQUE (space, name)
) STRICT;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT
) STRICT;

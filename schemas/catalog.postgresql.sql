BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE dictionaries (
    dictionary VARCHAR NOT NULL, 
    name VARCHAR NOT NULL, 
    version VARCHAR NOT NULL, 
    weights_sha256 VARCHAR NOT NULL, 
    fit_id VARCHAR NOT NULL, 
    harvest_id VARCHAR NOT NULL, 
    architecture VARCHAR NOT NULL, 
    site VARCHAR NOT NULL, 
    d_in INTEGER NOT NULL, 
    num_latents INTEGER NOT NULL, 
    metrics JSON NOT NULL, 
    code_version VARCHAR NOT NULL, 
    CONSTRAINT pk_dictionaries PRIMARY KEY (dictionary)
);

COMMENT ON COLUMN dictionaries.dictionary IS 'name@version';

COMMENT ON COLUMN dictionaries.harvest_id IS 'the dense harvest it was fitted on';

COMMENT ON COLUMN dictionaries.metrics IS 'ReconstructionMetrics';

CREATE TABLE feature_sets (
    features_id VARCHAR NOT NULL, 
    dictionary VARCHAR NOT NULL, 
    corpus_id VARCHAR NOT NULL, 
    harvest_id VARCHAR NOT NULL, 
    site VARCHAR NOT NULL, 
    num_rows JSON NOT NULL, 
    histogram_edges JSON NOT NULL, 
    code_version VARCHAR NOT NULL, 
    CONSTRAINT pk_feature_sets PRIMARY KEY (features_id), 
    CONSTRAINT fk_feature_sets_dictionary FOREIGN KEY(dictionary) REFERENCES dictionaries (dictionary)
);

COMMENT ON COLUMN feature_sets.harvest_id IS 'the sparse harvest';

COMMENT ON COLUMN feature_sets.num_rows IS 'by split';

COMMENT ON COLUMN feature_sets.histogram_edges IS 'of all its features';

CREATE INDEX ix_feature_sets_dictionary ON feature_sets (dictionary);

CREATE TABLE features (
    features_id VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    state VARCHAR NOT NULL, 
    num_active BIGINT NOT NULL, 
    density DOUBLE PRECISION NOT NULL, 
    mean DOUBLE PRECISION NOT NULL, 
    max DOUBLE PRECISION NOT NULL, 
    histogram JSON NOT NULL, 
    top_tokens JSON NOT NULL, 
    CONSTRAINT pk_features PRIMARY KEY (features_id, feature), 
    CONSTRAINT fk_features_features_id FOREIGN KEY(features_id) REFERENCES feature_sets (features_id)
);

CREATE INDEX ix_features_features_id_density ON features (features_id, density);

CREATE TABLE releases (
    release_id VARCHAR NOT NULL, 
    name VARCHAR NOT NULL, 
    version VARCHAR NOT NULL, 
    num_files INTEGER NOT NULL, 
    num_bytes BIGINT NOT NULL, 
    lineage JSON NOT NULL, 
    code_version VARCHAR NOT NULL, 
    CONSTRAINT pk_releases PRIMARY KEY (release_id), 
    CONSTRAINT uq_releases_name_version UNIQUE (name, version)
);

CREATE TABLE ingested_files (
    key VARCHAR NOT NULL, 
    sha256 VARCHAR NOT NULL, 
    CONSTRAINT pk_ingested_files PRIMARY KEY (key)
);

COMMENT ON COLUMN ingested_files.key IS 'of the object, under the store''s root';

CREATE TABLE label_runs (
    run_id VARCHAR NOT NULL, 
    dictionary VARCHAR NOT NULL, 
    features_id VARCHAR NOT NULL, 
    corpus_id VARCHAR NOT NULL, 
    num_features INTEGER NOT NULL, 
    states JSON NOT NULL, 
    mean_scores JSON NOT NULL, 
    num_calls BIGINT NOT NULL, 
    num_prompt_tokens BIGINT NOT NULL, 
    num_completion_tokens BIGINT NOT NULL, 
    spec JSON NOT NULL, 
    code_version VARCHAR NOT NULL, 
    complete BOOLEAN NOT NULL, 
    newest_label_at TIMESTAMP WITH TIME ZONE, 
    CONSTRAINT pk_label_runs PRIMARY KEY (run_id), 
    CONSTRAINT fk_label_runs_dictionary FOREIGN KEY(dictionary) REFERENCES dictionaries (dictionary), 
    CONSTRAINT fk_label_runs_features_id FOREIGN KEY(features_id) REFERENCES feature_sets (features_id)
);

COMMENT ON COLUMN label_runs.complete IS 'every file of the run is in; until then nobody sees it';

COMMENT ON COLUMN label_runs.newest_label_at IS 'orders the runs; null while incomplete or without labels';

CREATE INDEX ix_label_runs_dictionary ON label_runs (dictionary);

CREATE TABLE labels (
    run_id VARCHAR NOT NULL, 
    label_id VARCHAR NOT NULL, 
    dictionary VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    text TEXT, 
    state VARCHAR NOT NULL, 
    method VARCHAR NOT NULL, 
    explainer_model VARCHAR NOT NULL, 
    explainer_revision VARCHAR NOT NULL, 
    prompt_sha256 VARCHAR NOT NULL, 
    exemplars_sha256 VARCHAR NOT NULL, 
    decoding TEXT NOT NULL, 
    seed BIGINT NOT NULL, 
    code_version VARCHAR NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    supersedes VARCHAR, 
    CONSTRAINT pk_labels PRIMARY KEY (run_id, label_id), 
    CONSTRAINT fk_labels_dictionary FOREIGN KEY(dictionary) REFERENCES dictionaries (dictionary), 
    CONSTRAINT fk_labels_run_id FOREIGN KEY(run_id) REFERENCES label_runs (run_id)
);

CREATE INDEX ix_labels_dictionary_feature ON labels (dictionary, feature);

CREATE TABLE scores (
    run_id VARCHAR NOT NULL, 
    score_id VARCHAR NOT NULL, 
    label_id VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    score_type VARCHAR NOT NULL, 
    shuffled BOOLEAN NOT NULL, 
    scorer_model VARCHAR NOT NULL, 
    prompt_sha256 VARCHAR NOT NULL, 
    value DOUBLE PRECISION, 
    ci_low DOUBLE PRECISION, 
    ci_high DOUBLE PRECISION, 
    ci_method VARCHAR NOT NULL, 
    state VARCHAR NOT NULL, 
    n INTEGER NOT NULL, 
    n_unparsed INTEGER NOT NULL, 
    sample_sha256 VARCHAR NOT NULL, 
    CONSTRAINT pk_scores PRIMARY KEY (run_id, score_id), 
    CONSTRAINT fk_scores_run_id_label_id FOREIGN KEY(run_id, label_id) REFERENCES labels (run_id, label_id)
);

COMMENT ON COLUMN scores.label_id IS 'whose text was scored';

COMMENT ON COLUMN scores.feature IS 'on whose contexts';

CREATE INDEX ix_scores_run_id_feature ON scores (run_id, feature);

CREATE TABLE current_labels (
    dictionary VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    run_id VARCHAR NOT NULL, 
    label_id VARCHAR NOT NULL, 
    CONSTRAINT pk_current_labels PRIMARY KEY (dictionary, feature), 
    CONSTRAINT fk_current_labels_dictionary FOREIGN KEY(dictionary) REFERENCES dictionaries (dictionary), 
    CONSTRAINT fk_current_labels_run_id_label_id FOREIGN KEY(run_id, label_id) REFERENCES labels (run_id, label_id)
);

CREATE INDEX ix_current_labels_run_id_label_id ON current_labels (run_id, label_id);

CREATE TABLE events (
    event_id VARCHAR NOT NULL, 
    kind VARCHAR NOT NULL, 
    run_id VARCHAR NOT NULL, 
    label_id VARCHAR NOT NULL, 
    reason TEXT NOT NULL, 
    author VARCHAR NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_events PRIMARY KEY (event_id)
);

CREATE INDEX ix_events_run_id_label_id ON events (run_id, label_id);

CREATE INDEX ix_label_search ON labels
    USING gin (to_tsvector('simple', regexp_replace(text, '[^[:alnum:]]+', ' ', 'g')));

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

-- Running upgrade 0001 -> 0002

ALTER TABLE labels ADD COLUMN num_candidates INTEGER DEFAULT '1' NOT NULL;

ALTER TABLE labels ADD COLUMN num_prompt_tokens BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE labels ADD COLUMN num_completion_tokens BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE labels ADD COLUMN cost DOUBLE PRECISION;

COMMENT ON COLUMN labels.cost IS 'in the run''s currency; null without a price';

ALTER TABLE scores ADD COLUMN scorer_revision VARCHAR DEFAULT 'unstated' NOT NULL;

ALTER TABLE scores ADD COLUMN qualified BOOLEAN;

COMMENT ON COLUMN scores.qualified IS 'told planted features'' labels apart; null if never tried';

ALTER TABLE scores ADD COLUMN lift DOUBLE PRECISION;

COMMENT ON COLUMN scores.lift IS 'value less the mean of shuffled labels on the same contexts';

ALTER TABLE scores ADD COLUMN lift_low DOUBLE PRECISION;

ALTER TABLE scores ADD COLUMN lift_high DOUBLE PRECISION;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

ALTER TABLE events ALTER COLUMN run_id DROP NOT NULL;

COMMENT ON COLUMN events.run_id IS 'of a label''s event';

ALTER TABLE events ALTER COLUMN label_id DROP NOT NULL;

ALTER TABLE events ADD COLUMN night_id VARCHAR;

COMMENT ON COLUMN events.night_id IS 'of a night''s event';

ALTER TABLE events ADD COLUMN details JSON;

COMMENT ON COLUMN events.details IS 'what a night did, in figures';

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

CREATE TABLE family_sets (
    families_id VARCHAR NOT NULL, 
    dictionary VARCHAR NOT NULL, 
    features_id VARCHAR NOT NULL, 
    labels_sha256 VARCHAR NOT NULL, 
    num_labels INTEGER NOT NULL, 
    num_families INTEGER NOT NULL, 
    num_links JSON NOT NULL, 
    code_version VARCHAR NOT NULL, 
    CONSTRAINT pk_family_sets PRIMARY KEY (families_id), 
    CONSTRAINT fk_family_sets_dictionary FOREIGN KEY(dictionary) REFERENCES dictionaries (dictionary), 
    CONSTRAINT fk_family_sets_features_id FOREIGN KEY(features_id) REFERENCES feature_sets (features_id)
);

COMMENT ON COLUMN family_sets.num_links IS 'by kind';

CREATE INDEX ix_family_sets_dictionary ON family_sets (dictionary);

CREATE TABLE families (
    families_id VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    family_id VARCHAR NOT NULL, 
    name TEXT NOT NULL, 
    run_id VARCHAR NOT NULL, 
    label_id VARCHAR NOT NULL, 
    text TEXT NOT NULL, 
    similarity DOUBLE PRECISION NOT NULL, 
    CONSTRAINT pk_families PRIMARY KEY (families_id, feature), 
    CONSTRAINT fk_families_families_id FOREIGN KEY(families_id) REFERENCES family_sets (families_id)
);

COMMENT ON COLUMN families.run_id IS 'of its label';

CREATE INDEX ix_families_families_id_family_id ON families (families_id, family_id);

CREATE TABLE label_links (
    families_id VARCHAR NOT NULL, 
    feature INTEGER NOT NULL, 
    other INTEGER NOT NULL, 
    kind VARCHAR NOT NULL, 
    text_similarity DOUBLE PRECISION NOT NULL, 
    decoder_cosine DOUBLE PRECISION, 
    cofiring DOUBLE PRECISION NOT NULL, 
    CONSTRAINT pk_label_links PRIMARY KEY (families_id, feature, other), 
    CONSTRAINT fk_label_links_families_id FOREIGN KEY(families_id) REFERENCES family_sets (families_id)
);

COMMENT ON COLUMN label_links.other IS 'larger than feature';

COMMENT ON COLUMN label_links.kind IS 'duplicate, synonym or confusable';

CREATE INDEX ix_label_links_families_id_other ON label_links (families_id, other);

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

COMMIT;


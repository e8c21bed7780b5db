"""Arrow schemas of every table and shard in storage."""

import pyarrow as pa

TOKENS = pa.list_(pa.int32())

SEGMENT = pa.struct(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field(
            "start", pa.int32(), nullable=False
        ),  # first position in the sequence, BOS and separator included
        pa.field("length", pa.int32(), nullable=False),
    ]
)

ROLE_SPAN = pa.struct(
    [
        pa.field(
            "role", pa.string(), nullable=False
        ),  # of the message, or template for what stands around it
        pa.field("start", pa.int32(), nullable=False),  # first position in the sequence
        pa.field("length", pa.int32(), nullable=False),
    ]
)

SEQUENCES = pa.schema(
    [
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("token_ids", TOKENS, nullable=False),
        pa.field("segments", pa.list_(SEGMENT), nullable=False),  # cover every position once, in order
        pa.field("roles", pa.list_(ROLE_SPAN), nullable=False),  # in order; plain text lies in none
    ]
)

ROWS = pa.schema(
    [
        pa.field("doc_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("token_id", pa.int32(), nullable=False),
    ]
)

SPARSE_CODES = pa.schema(
    [
        pa.field("latents", pa.list_(pa.int32()), nullable=False),  # ascending
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)


ENCODING_METADATA, CENTRE_METADATA, SPREAD_METADATA = b"encoding", b"centre", b"spread"
"""Keys of the metadata of a dense file's schema."""


INT8_BLOCK_COLUMNS = 32


def num_int8_blocks(width: int) -> int:
    """Scales of an int8 row."""
    return -(-width // INT8_BLOCK_COLUMNS)


def dense_rows(encoding: str, width: int) -> pa.Schema:
    """Fixed-width rows. bfloat16 has no Arrow type: its bits are stored as uint16.

    int8 rows have a scale for each block of 32 columns (the last may be shorter): x = scale * stored, and where the
    file's metadata holds `spread` and `centre` (float32, little-endian, a value a column),
    x = scale * stored * spread + centre.
    """
    value = {"bfloat16": pa.uint16(), "float16": pa.float16(), "int8": pa.int8()}[encoding]
    fields = [pa.field("x", pa.list_(value, width), nullable=False)]
    if encoding == "int8":
        fields.append(pa.field("scale", pa.list_(pa.float16(), num_int8_blocks(width)), nullable=False))
    return pa.schema(fields, metadata={ENCODING_METADATA: encoding})


FEATURE_STATS = pa.schema(
    [
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("num_active", pa.int64(), nullable=False),
        pa.field("density", pa.float64(), nullable=False),  # share of rows on which the latent is active
        pa.field("mean", pa.float32(), nullable=False),  # over active rows; 0 if there are none
        pa.field("max", pa.float32(), nullable=False),
        pa.field(
            "histogram", pa.list_(pa.int64()), nullable=False
        ),  # counts of active values, edges in metadata
        pa.field("top_tokens", pa.list_(pa.string()), nullable=False),  # at the strongest exemplars' peaks
        pa.field("state", pa.string(), nullable=False),  # ok, dead or too_rare
    ]
)

EXEMPLARS = pa.schema(
    [
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # contracts.exemplars.EXEMPLAR_SPLITS
        pa.field("kind", pa.string(), nullable=False),  # contracts.exemplars.EXEMPLAR_KINDS
        pa.field("rank", pa.int32(), nullable=False),  # within feature, split and kind; 0 is the strongest
        pa.field("quantile", pa.int32()),  # stratum of a quantile exemplar, 0 the weakest
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),  # position of the first token shown
        pa.field("token_ids", TOKENS, nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
        pa.field("activations", pa.list_(pa.float32()), nullable=False),
        pa.field("peak", pa.float32(), nullable=False),  # largest activation shown
    ]
)

OUTPUT_TOKENS = pa.schema(
    [
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # contracts.exemplars.OUTPUT_TOKEN_KINDS
        pa.field("rank", pa.int32(), nullable=False),  # within feature and kind; 0 is the most extreme
        pa.field("token_id", pa.int32(), nullable=False),
        pa.field("token", pa.string(), nullable=False),
        pa.field("value", pa.float32(), nullable=False),  # logit, or change of log-probability
    ]
)

LABELS = pa.schema(
    [
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("dictionary", pa.string(), nullable=False),  # name@version
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("text", pa.string()),  # null unless the state is ok
        pa.field("state", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("explainer_model", pa.string(), nullable=False),
        pa.field("explainer_revision", pa.string(), nullable=False),
        pa.field("prompt_sha256", pa.string(), nullable=False),
        pa.field("exemplars_sha256", pa.string(), nullable=False),
        pa.field("decoding", pa.string(), nullable=False),  # JSON
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("num_candidates", pa.int32(), nullable=False),  # labels it was chosen among
        pa.field("num_prompt_tokens", pa.int64(), nullable=False),  # of its requests, scoring included
        pa.field("num_completion_tokens", pa.int64(), nullable=False),
        pa.field("cost", pa.float64()),  # in the manifest's currency; null without a price
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("code_version", pa.string(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),  # when the answer was persisted
        pa.field("supersedes", pa.string()),  # label_id
    ]
)

SCORES = pa.schema(
    [
        pa.field("score_id", pa.string(), nullable=False),
        pa.field("label_id", pa.string(), nullable=False),  # whose text was scored
        pa.field("feature", pa.int32(), nullable=False),  # on whose contexts
        pa.field("score_type", pa.string(), nullable=False),
        pa.field("shuffled", pa.bool_(), nullable=False),  # the text is another feature's: the baseline
        pa.field("scorer_model", pa.string(), nullable=False),
        pa.field("scorer_revision", pa.string(), nullable=False),
        pa.field(
            "qualified", pa.bool_()
        ),  # the scorer told planted features' labels apart; null if never tried
        pa.field("prompt_sha256", pa.string(), nullable=False),
        pa.field("value", pa.float64()),  # null where it is undefined, never zero in its place
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("ci_method", pa.string(), nullable=False),
        pa.field("lift", pa.float64()),  # value less the mean of shuffled labels on the same contexts
        pa.field("lift_low", pa.float64()),
        pa.field("lift_high", pa.float64()),
        pa.field("state", pa.string(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("n_unparsed", pa.int32(), nullable=False),
        pa.field("sample_sha256", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)

RESPONSES = pa.schema(
    [
        pa.field("request_sha256", pa.string(), nullable=False),
        pa.field("purpose", pa.string(), nullable=False),  # explain, or the score type
        pa.field("model", pa.string(), nullable=False),
        pa.field("revision", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),  # of the label run that asked, and paid
        pa.field("response", pa.string(), nullable=False),  # the raw JSON body
        pa.field("num_prompt_tokens", pa.int64(), nullable=False),
        pa.field("num_completion_tokens", pa.int64(), nullable=False),
        pa.field(
            "num_cached_tokens", pa.int64(), nullable=False
        ),  # of the prompt, in the server's prefix cache
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

LABEL_LINKS = pa.schema(
    [
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("other", pa.int32(), nullable=False),  # larger than feature
        pa.field("kind", pa.string(), nullable=False),  # duplicate, synonym or confusable
        pa.field("text_similarity", pa.float64(), nullable=False),
        pa.field("decoder_cosine", pa.float64()),  # null where the weights were not there
        pa.field("cofiring", pa.float64(), nullable=False),  # shared share of the exemplar windows
    ]
)

FAMILIES = pa.schema(
    [
        pa.field("family_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("feature", pa.int32(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),  # of its label
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),  # of its text to the family's name
    ]
)

TABLES: dict[str, pa.Schema] = {
    "sequences": SEQUENCES,
    "rows": ROWS,
    "sparse_codes": SPARSE_CODES,
    "feature_stats": FEATURE_STATS,
    "exemplars": EXEMPLARS,
    "output_tokens": OUTPUT_TOKENS,
    "labels": LABELS,
    "scores": SCORES,
    "responses": RESPONSES,
    "label_links": LABEL_LINKS,
    "families": FAMILIES,
}
"""What `schemas/arrow.txt` is generated from."""

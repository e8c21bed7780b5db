from thresher.contracts.manifests import CorpusManifest, SplitRange
from thresher.harvest.plan import plan_shards
from thresher.harvest.spec import HarvestSpec


def _corpus(fit, explain, report):
    bounds = [0, fit, fit + explain, fit + explain + report]
    splits = [
        SplitRange(split=name, start=start, stop=stop)
        for name, start, stop in zip(("fit", "explain", "report"), bounds[:-1], bounds[1:], strict=True)
    ]
    return CorpusManifest(
        corpus_id="c",
        spec={},
        tokenizer_sha256="",
        sequence_length=16,
        bos_token_id=None,
        separator_token_id=None,
        special_token_ids=[],
        roles=[],
        num_documents=1,
        num_sequences=bounds[-1],
        num_tokens=bounds[-1] * 16,
        splits=splits,
        files=[],
    )


def _spec(**more):
    return HarvestSpec.parse(
        {
            "root": "file:///r",
            "corpus": "c",
            "model": "m",
            "sites": ["resid_post.0"],
            "sequences_per_shard": 4,
            **more,
        }
    )


def test_shards_cover_the_asked_splits_once_and_never_cross_two():
    plans = plan_shards(_spec(), _corpus(fit=10, explain=3, report=5), "a")
    ranges = [(plan.first_sequence, plan.num_sequences) for plan in plans]
    assert ranges == [(0, 4), (4, 4), (8, 2), (13, 4), (17, 1)]
    assert [plan.index for plan in plans] == list(range(5))


def test_empty_splits_make_no_shard():
    assert plan_shards(_spec(splits=["explain"]), _corpus(fit=10, explain=0, report=5), "a") == []

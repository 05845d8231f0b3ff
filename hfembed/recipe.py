"""Recipe: everything a run does, one pydantic model per stage, each default written once, here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from hfembed.errors import RecipeError, choices, nearest
from hfembed.resources import presets_folder

DEFAULT_PRESET = "instant"
DEFAULT_BASE = "sentence-transformers/all-MiniLM-L6-v2"

# Of a value that an error sentence quotes.
SHOWN_LETTERS = 200

# Rows of a step where there are few (NVIDIA's recipe for domain embeddings).
FEWEST, MOST_OF_FEW = 16, 64

Share = Annotated[float, Field(gt=0, lt=0.5)]
Model = TypeVar("Model", bound=BaseModel)

RepoId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
TITLE_LETTERS, CARD_LETTERS = 100, 2_000
CardText = Annotated[str, Field(min_length=1, max_length=CARD_LETTERS)]


class ChunkBy(StrEnum):
    """What a long document is cut by."""

    NONE = "none"
    SENTENCES = "sentences"
    TOKENS = "tokens"
    HEADINGS = "headings"


class QueryKind(StrEnum):
    """What kind of query is made from a document; labelled ones were asked by people, and are given."""

    TITLE = "title"
    LEAD = "lead"
    SENTENCE = "sentence"
    PARAPHRASE = "paraphrase"
    KEYWORD = "keyword"
    PHRASE = "phrase"
    TERM = "term"
    QUESTION = "question"
    DEFINITION = "definition"
    ASPECT = "aspect"
    SPAN = "span"
    CLOZE = "cloze"
    MULTI_HOP = "multi_hop"
    CLAIM = "claim"
    TRIPLE = "triple"
    ENTITY_MAP = "entity_map"
    LABELLED = "labelled"


class View(StrEnum):
    """What of a text is looked at: its words, or what it names and how that hangs together."""

    PLAIN = "plain"
    ENTITY_MAP = "entity_map"


class MapWriter(StrEnum):
    """Who makes entity maps."""

    NONE = "none"
    AUTO = "auto"
    RULES = "rules"
    LLM = "llm"


class GenerateMethod(StrEnum):
    """Who writes the queries."""

    EXTRACTIVE = "extractive"
    LLM = "llm"
    MODEL = "model"


class LlmTask(StrEnum):
    """What a language model is asked to write."""

    QUESTION = "question"
    MULTI_HOP = "multi_hop"
    CLAIM = "claim"
    KEYWORD = "keyword"
    TITLE = "title"
    DEFINITION = "definition"
    TRIPLE = "triple"
    ENTITY_MAP = "entity_map"


class QueryType(StrEnum):
    """What a question asks of a document: how its matter hangs together, or what it means where it stands."""

    STRUCTURAL = "structural"
    CONTEXTUAL = "contextual"


class ReasoningType(StrEnum):
    """What it takes to answer a question."""

    FACTUAL = "factual"
    RELATIONAL = "relational"
    INFERENTIAL = "inferential"
    TEMPORAL = "temporal"
    PROCEDURAL = "procedural"
    CAUSAL = "causal"
    VISUAL = "visual"


class CapType(StrEnum):
    """How the highest score of a negative follows from the score of the positive."""

    PERCENT = "percent"
    ABSOLUTE = "absolute"
    NONE = "none"


class CandidateSource(StrEnum):
    """Where documents come from that may become negatives."""

    DENSE = "dense"
    BM25 = "bm25"


class SamplerType(StrEnum):
    """How negatives are picked from the candidates that are left."""

    TOP = "top"
    RANDOM = "random"
    MIXED = "mixed"
    BALANCED = "balanced"


class ShortRows(StrEnum):
    """What becomes of a row that has fewer negatives than asked for."""

    DROP = "drop"
    REPEAT = "repeat"
    RANDOM = "random"


class TrainMethod(StrEnum):
    """What a training phase changes."""

    ADAPTER = "adapter"
    FULL = "full"
    LORA = "lora"
    QLORA = "qlora"
    AUTOTRAIN = "autotrain"


class LossType(StrEnum):
    """What a phase on the encoder's own weights minimises."""

    CONTRASTIVE = "contrastive"
    GIST = "gist"
    EMBED_DISTILL = "embed_distill"
    MARGIN_MSE = "margin_mse"
    DISTILL_KL = "distill_kl"
    LATE_INTERACTION = "late_interaction"
    M3 = "m3"
    SIMILARITY_DISTILL = "similarity_distill"


class Head(StrEnum):
    """What two texts are compared by: their vectors, the weights of shared tokens, or the vectors of tokens."""

    DENSE = "dense"
    SPARSE = "sparse"
    MULTI_VECTOR = "multi_vector"


class Tracker(StrEnum):
    """A dashboard that follows training."""

    TENSORBOARD = "tensorboard"
    TRACKIO = "trackio"


class Variant(StrEnum):
    """An ONNX file that export writes."""

    FP32 = "fp32"
    INT8 = "int8"


class TokenPooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "lasttoken"


class Similarity(StrEnum):
    """How two vectors are compared; dot lets their lengths count, unless they are scaled to one."""

    COSINE = "cosine"
    DOT = "dot"


class Section(BaseModel):
    """One stage's part of the recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def reads(self) -> tuple[str, ...]:
        """Return what a stage reads from outside the run because of its settings."""
        return ()


class Encoder(Section):
    """How the base makes a vector of a text; what is not set is as the base's own files say."""

    pooling: TokenPooling | None = Field(None, description="how the tokens' vectors become one; lasttoken appends EOS")
    normalize: bool | None = Field(None, description="whether vectors are scaled to length one")
    similarity: Similarity | None = Field(None, description="how two vectors are compared")
    max_length: int | None = Field(None, ge=8, description="tokens read of a text, as far as the base can")
    instruction: str | None = Field(None, min_length=1, description="one sentence: what a query is to find")
    query_prompt: str | None = Field(
        None, description="what stands before every query; {instruction} is replaced by the instruction"
    )
    document_prompt: str | None = Field(None, description="what stands before every document")
    pool_prompt: bool | None = Field(
        None, description="whether a prompt's own tokens count in the mean; false: they are read, but left out of it"
    )

    @model_validator(mode="after")
    def _prompt_can_be_left_out(self) -> Encoder:
        if self.pool_prompt is False and self.pooling not in (None, TokenPooling.MEAN):
            raise RecipeError(
                f"encoder.pool_prompt is false, but encoder.pooling is {self.pooling}: only a mean can leave tokens out.",
                "--set encoder.pooling=mean, or leave encoder.pool_prompt out.",
            )
        return self


class Chunk(Section):
    """How long documents are cut into chunks, each of which becomes a document of the run."""

    by: ChunkBy = Field(ChunkBy.NONE, description="none keeps documents whole")
    size: int | None = Field(
        None, ge=1, description="sentences, or tokens of the base model; when not set: 5 sentences, all that it reads"
    )
    overlap: int = Field(0, ge=0, description="sentences or tokens that a chunk repeats of the one before it")


class Pull(Section):
    """Where the text stands in the source, which documents are kept, and how long ones are cut."""

    text_column: str | None = Field(None, description="column with the text; guessed when not set")
    title_column: str | None = Field(None, description="column with the title; guessed when not set")
    id_column: str | None = Field(None, description="column with the id; guessed, else numbered")
    split: str = Field("train", description="split of a Hub dataset")
    min_chars: int = Field(10, ge=1, description="shorter documents are dropped")
    max_chars: int = Field(
        1_000_000, ge=1_000, le=1_000_000_000, description="a longer document is refused as a broken file"
    )
    limit: int | None = Field(None, ge=1, description="read at most this many documents")
    chunk: Chunk = Field(Chunk(), description="how long documents are cut")
    undefined: bool = Field(
        False, description="ontologies: a term without a definition is a document of its relations; left out if false"
    )
    near_duplicates: float | None = Field(
        0.8, ge=0.5, le=1, description="documents that share this much are kept in one split; null: none are looked for"
    )


class Questions(Section):
    """What kinds of questions a language model is asked for, in what proportion."""

    types: dict[QueryType, Annotated[int, Field(ge=0, le=20)]] = Field(
        {QueryType.STRUCTURAL: 2, QueryType.CONTEXTUAL: 2}, description="how often each type, against the others"
    )
    reasoning: dict[ReasoningType, Annotated[int, Field(ge=0, le=20)]] = Field(
        {kind: 0 if kind is ReasoningType.VISUAL else 1 for kind in ReasoningType},
        description="how often each kind of reasoning; visual is for texts that describe images",
    )
    min_complexity: int = Field(2, ge=1, le=5, description="easier questions are dropped, of 1 to 5")
    max_hops: int = Field(3, ge=2, le=3, description="most steps that the answer to a multi_hop question takes")
    bundle: int = Field(2, ge=2, le=3, description="documents that a multi_hop question is written from")
    artifacts: bool = Field(False, description="list concepts, relations and entities first: better, one more request")
    whole: bool = Field(
        False, description="show all chunks of a document at once: question and multi_hop count per document, not chunk"
    )


class Sampling(Section):
    """How a language model picks its words; null leaves a value to the server."""

    temperature: float | None = Field(0.6, ge=0, le=2, description="0 always takes the likeliest word")
    top_p: float | None = Field(0.95, gt=0, le=1, description="share of the likeliest words that are drawn from")
    max_tokens: int = Field(2_048, ge=16, description="longest answer; twice as long is tried when one is cut off")


class Patience(Section):
    """How long a language model is waited for, and when it is given up."""

    timeout: float = Field(120, gt=0, description="seconds to wait for an answer")
    tries: int = Field(8, ge=1, le=50, description="requests without an answer before a record is dropped")
    answers: int = Field(4, ge=1, le=10, description="answers of no use, each of them paid, before a record is dropped")
    max_failures: float = Field(0.5, gt=0, le=1, description="share of dropped records that stops the stage")


class Llm(Section):
    """Which language model writes queries, what it is asked for, and what that may cost.

    The key is read from the environment and stands nowhere else.
    """

    model: str | None = Field(None, min_length=1, description="the model's name at the endpoint, or on the Hub")
    endpoint: str | None = Field(None, description="URL of an OpenAI-compatible server; the Hub's providers if not set")
    provider: str | None = Field(None, min_length=1, description="a provider of the Hub; the first that has the model")
    key_env: str | None = Field(
        None, description="environment variable with the key; OPENAI_API_KEY for an endpoint, else HF_TOKEN"
    )
    concurrency: int = Field(8, ge=1, le=256, description="requests in flight")
    batch_size: int = Field(8, ge=1, description="prompts at a time for a model on this machine")
    price_in: float | None = Field(None, ge=0, description="price of a million tokens sent")
    price_out: float | None = Field(None, ge=0, description="price of a million tokens received")
    max_cost: float | None = Field(None, gt=0, description="stop before the run has cost more; needs both prices")
    max_chars: int = Field(20_000, ge=200, description="longest part of a document that is sent")
    prompts: str | None = Field(None, min_length=1, description="folder with prompts that replace those of the package")
    tasks: dict[LlmTask, Annotated[int, Field(ge=0, le=20)]] = Field(
        {LlmTask.QUESTION: 3, LlmTask.MULTI_HOP: 2, LlmTask.CLAIM: 1, LlmTask.KEYWORD: 2},
        description="queries per document, multi_hop: per bundle",
    )
    questions: Questions = Field(Questions(), description="kinds of questions")
    sampling: Sampling = Field(Sampling(), description="how words are picked")
    patience: Patience = Field(Patience(), description="retries and limits")

    @field_validator("key_env")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        # Not a ValueError: its sentence would show the value, and this one may be a key.
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value):
            raise RecipeError(
                "generate.llm.key_env must be the name of an environment variable, in capitals. "
                "If it is the key itself: a key belongs in no recipe.",
                "export OPENAI_API_KEY=... and --set generate.llm.key_env=OPENAI_API_KEY",
            )
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", value):
            raise RecipeError(
                "generate.llm.endpoint must be a URL such as http://localhost:8000/v1, without a user, a password "
                "or a query: a key belongs in no recipe.",
                "Keys are read from the environment, see generate.llm.key_env.",
            )
        return value

    @model_validator(mode="after")
    def _cap_has_prices(self) -> Llm:
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise RecipeError(
                f"generate.llm.max_cost is {self.max_cost:g}, but what tokens cost is not known.",
                "--set generate.llm.price_in=P --set generate.llm.price_out=P, each per million tokens",
            )
        return self


class RoundTrip(Section):
    """Whether a query finds its documents again by two retrievers, the base model and BM25."""

    enabled: bool = Field(False, description="drop queries that do not; needs hfembed[train]")
    dense_rank: int | None = Field(
        None, ge=1, description="worst rank under the base; when not set: 1, or 3 among more than 10,000 documents"
    )
    bm25_rank: int = Field(20, ge=1, le=1_000, description="worst rank under BM25, unless the base ranks it first")
    min_gap: float | None = Field(
        None, ge=0, le=1, description="smallest lead, in cosine, over the best other document; null: any"
    )
    documents: int = Field(20_000, ge=100, description="documents ranked besides those with queries, drawn at random")


class Filters(Section):
    """Which queries are dropped. copying and references are for what a language model wrote."""

    min_words: int = Field(1, ge=1, description="shorter queries are dropped")
    max_words: int = Field(64, ge=1, description="longer queries are dropped, entity maps aside")
    copying: float | None = Field(
        0.5, ge=0, le=1, description="largest share of a query's runs of four words that stand in its document"
    )
    references: bool = Field(True, description="drop what speaks of 'the passage', 'the text above' and the like")
    ambiguous: bool = Field(True, description="drop a query that was written for several documents")
    max_positives: int | None = Field(
        None, ge=1, description="a query that more documents, or chunks, answer is dropped; null: none is"
    )
    duplicates: float | None = Field(
        None, gt=0, le=1, description="cosine above which two queries of a document are one; needs hfembed[train]"
    )
    judge: float | None = Field(7.0, ge=1, le=10, description="lowest score of the language model's judge; null: none")
    retriever: str | None = Field(
        None, min_length=1, description="model that duplicates and round_trip ask; when not set: the base"
    )
    round_trip: RoundTrip = Field(RoundTrip(), description="whether a query finds its documents")

    def encode(self) -> bool:
        """Tell whether a model is needed."""
        return self.duplicates is not None or self.round_trip.enabled


class EntityMaps(Section):
    """Texts as entities and relations, for phases and mining that look at that view of them."""

    by: MapWriter = Field(
        MapWriter.NONE, description="who makes them; auto: the language model where one writes the queries, else rules"
    )
    length: float = Field(
        0.62, gt=0, le=2, description="rules: words of a map for each of its document, numbers and names come first"
    )


class Generate(Section):
    """How queries are made, and how documents are split into train, dev and test."""

    method: GenerateMethod = Field(GenerateMethod.EXTRACTIVE, description="who writes the queries")
    kinds: dict[QueryKind, Annotated[int, Field(ge=0, le=20)]] = Field(
        {
            QueryKind.TITLE: 1,
            QueryKind.LEAD: 1,
            QueryKind.SENTENCE: 2,
            QueryKind.PARAPHRASE: 2,
            QueryKind.KEYWORD: 4,
            QueryKind.PHRASE: 2,
            QueryKind.TERM: 1,
            QueryKind.QUESTION: 2,
            QueryKind.DEFINITION: 1,
            QueryKind.ASPECT: 2,
        },
        description="queries per document, by kind, where the document offers them",
    )
    ontology: dict[QueryKind, Annotated[int, Field(ge=0, le=20)]] = Field(
        {QueryKind.TERM: 4, QueryKind.DEFINITION: 1, QueryKind.TRIPLE: 2},
        description="queries per term of an ontology beside the others: its other names (term), its definition without "
        "its name (definition), questions for a relation (triple)",
    )
    beside: dict[QueryKind, Annotated[int, Field(ge=0, le=20)]] = Field(
        {}, description="for the methods llm and model: queries cut from the documents too, by kind"
    )
    title_in_passage: bool = Field(
        True, description="whether the passage that a title is paired with in training begins with that title"
    )
    weights: dict[QueryKind, Annotated[float, Field(ge=0, le=100)]] = Field(
        {QueryKind.LABELLED: 16.0},
        description="how much a kind counts in training; not named: as much as every other kind its document offers",
    )
    dev_share: Share = Field(0.15, description="share of the documents whose queries choose settings")
    test_share: Share = Field(0.2, description="share of the documents whose queries give the verdict")
    pairs: str | None = Field(
        None, min_length=1, description="queries of people with the ids that answer them, to be learned from"
    )
    llm: Llm = Field(Llm(), description="for the methods llm and model: which model, what it writes")
    entity_maps: EntityMaps = Field(EntityMaps(), description="entity maps of documents and queries")
    filters: Filters = Field(Filters(), description="which queries are dropped")
    max_documents: int = Field(20_000, ge=10, description="documents that get queries, drawn at random")
    max_train_queries: int = Field(15_000, ge=10, description="train queries kept, drawn at random")
    max_dev_queries: int = Field(2_000, ge=10, description="dev queries kept, drawn at random")
    max_test_queries: int = Field(2_000, ge=10, description="test queries kept, drawn at random")

    def reads(self) -> tuple[str, ...]:
        """Return what generate reads besides the documents: models, prompts of the user's own, what people asked."""
        wanted = {
            "pairs": self.pairs is not None,
            "base": self.filters.encode() and self.filters.retriever is None,
            "checker": self.filters.encode() and self.filters.retriever is not None,
            "writer": self.method is GenerateMethod.MODEL,
            "prompts": self.asks_a_model() and self.llm.prompts is not None,
        }
        return tuple(name for name, needed in wanted.items() if needed)

    def asks_a_model(self) -> bool:
        """Tell whether a language model has something to write."""
        return self.method is not GenerateMethod.EXTRACTIVE or self.entity_maps.by is MapWriter.LLM

    def asks_an_endpoint(self) -> bool:
        """Tell whether that model is not on this machine."""
        return self.asks_a_model() and self.method is not GenerateMethod.MODEL

    @model_validator(mode="after")
    def _labelled_are_given(self) -> Generate:
        if QueryKind.LABELLED in {**self.kinds, **self.beside}:
            raise RecipeError(
                f"generate.kinds names '{QueryKind.LABELLED}', but nobody writes these: they are what people asked.",
                "Give them: hfembed run --pairs FILE, or --set generate.pairs=FILE",
            )
        return self

    @field_validator("ontology")
    @classmethod
    def _ontology_has_these(cls, value: dict[QueryKind, int]) -> dict[QueryKind, int]:
        offered = (QueryKind.TERM, QueryKind.DEFINITION, QueryKind.TRIPLE)
        others = [str(kind) for kind in value if kind not in offered]
        if others:
            raise RecipeError(
                f"generate.ontology names {', '.join(others)}, but an ontology offers {choices(offered)}.",
                "generate.kinds is for the others.",
            )
        return value

    @model_validator(mode="after")
    def _writer_is_named(self) -> Generate:
        if self.asks_a_model() and self.llm.model is None:
            asking = self.method is GenerateMethod.EXTRACTIVE
            raise RecipeError(
                f"generate.{'entity_maps.by is llm' if asking else f'method is {self.method}'}, "
                "but no language model is named.",
                "--set generate.llm.model=NAME, and --set generate.llm.endpoint=URL for a server of your own.",
            )
        return self


class Cap(Section):
    """The highest score a negative may have, so that it is not an unmarked positive."""

    type: CapType = Field(CapType.PERCENT, description="percent of the lowest positive's score, or a margin below")
    value: float = Field(0.95, gt=0, le=1, description="the percentage (0.95) or the margin (0.05)")


class Window(Section):
    """The candidates that are looked at, by rank; the nearest has rank 0."""

    first: int = Field(0, ge=0, description="nearest candidates passed over")
    last: int | None = Field(
        None, ge=1, description="candidates from this rank on are left out; all count when not set"
    )


class Sampler(Section):
    """How negatives are picked from the candidates."""

    type: SamplerType = Field(
        SamplerType.TOP,
        description="top: the nearest; random: any of the window; mixed: some of BM25, the rest nearest; "
        "balanced: near and far ones, no document too often",
    )
    window: Window = Field(Window(), description="ranks that negatives are picked from")
    bm25: int = Field(1, ge=0, le=32, description="mixed: negatives per row that are the best of BM25")


class CrossCheck(Section):
    """A cross-encoder's look at the candidates: what it finds nearly as right as the positive is no negative."""

    model: str | None = Field(None, min_length=1, description="a cross-encoder, folder or Hub id; none when not set")
    max_share: float = Field(0.95, gt=0, le=1, description="highest share of the positive's score a negative may have")
    candidates: int = Field(16, ge=1, le=1_000, description="nearest candidates under the cap checked per query")


class Mine(Section):
    """How hard negatives are found."""

    negatives: int = Field(4, ge=1, le=32, description="negatives per training row")
    retriever: str | None = Field(
        None, min_length=1, description="model that finds and scores candidates; when not set: the base"
    )
    view: View = Field(
        View.PLAIN, description="what of the texts the model looks at when it finds and scores candidates"
    )
    sources: list[CandidateSource] = Field(
        [CandidateSource.DENSE], min_length=1, description="where candidates come from; given negatives always count"
    )
    candidates: int = Field(256, ge=2, le=1_000, description="documents looked at per query and source")
    cap: Cap = Field(Cap(), description="the cap on a negative's score")
    sampler: Sampler = Field(Sampler(), description="how negatives are picked from the candidates")
    cross_encoder: CrossCheck = Field(CrossCheck(), description="a second opinion on candidates")
    short_rows: ShortRows = Field(ShortRows.RANDOM, description="rows with too few candidates left")
    same_document: bool = Field(
        False, description="whether other chunks of a document may be negatives where one of its chunks answers"
    )
    block_size: int = Field(8_192, ge=16, description="documents scored at a time; bounds the memory")

    def reads(self) -> tuple[str, ...]:
        """Return what mine reads besides the base: another model that finds candidates."""
        return ("miner",) if self.retriever is not None else ()


Mix = Annotated[
    dict[QueryKind, Annotated[float, Field(ge=0, le=100)]],
    Field(description="kinds of query learned from, and how much each counts; all of them when empty"),
]


class Phase(Section):
    """One training phase of the adapter: a map on cached embeddings, folded into the weights."""

    method: TrainMethod = Field(TrainMethod.ADAPTER, description="what is trained")
    temperature: float = Field(0.05, gt=0, le=1, description="softmax temperature")
    steps: int = Field(120, ge=1, description="optimiser steps")
    batch_size: int = Field(512, ge=2, description="pairs per step")
    learning_rate: float = Field(5e-4, gt=0, description="AdamW learning rate")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay")
    pool: int = Field(16_384, ge=16, description="documents each query is compared with, drawn when more")
    rank: int | None = Field(None, ge=1, description="directions that the map may change; all of them when not set")
    kinds: Mix = {}


class Lora(Section):
    """How large the low-rank adapters of lora and qlora are; they are merged into the weights at the end."""

    rank: int = Field(16, ge=1, le=1_024, description="rank of each adapter")
    alpha: int = Field(32, ge=1, description="scale of the adapters, against the rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout in front of each adapter")
    targets: list[str] | None = Field(
        None, min_length=1, description="layers that get one, by the end of their names; every linear one when not set"
    )
    above: int | None = Field(
        None, ge=0, description="full: a base with more weights than this gets adapters instead; none does when not set"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="peak where adapters learn, if it is another one than the phase's"
    )
    quantize: Literal["auto"] | bool = Field(
        False, description="whether the base stands in 4 bits while adapters learn; auto: where this machine can"
    )


class PreConvergence(Section):
    """When a phase ends before all is learned: hit@1 on dev decides, on plain texts and on entity maps.

    The weights with the best hit@1 on plain texts are kept.
    """

    patience: int = Field(2, ge=1, description="looks after the best on plain texts that end the phase")
    progress: float = Field(
        0.7, gt=0, le=1, description="share of the way from the first loss down to the pilot's that ends the phase"
    )
    divergence: float = Field(
        0.005, ge=0, lt=1, description="hit@1 lost on plain texts that ends the phase if entity maps gain meanwhile"
    )
    pilot_share: float = Field(
        0.1, gt=0, le=1, description="batches that the pilot learns over and over, of the phase's"
    )
    pilot_steps: int = Field(60, ge=2, description="longest pilot; it ends before where its loss falls no more")


class Stop(Section):
    """When a phase ends early: dev is looked at while it lasts, and the best weights seen are kept."""

    looks: int = Field(5, ge=1, le=1_000, description="times that dev is looked at")
    patience: int | None = Field(2, ge=1, description="looks without a better one that end the phase; null: never")
    forgetting: float | None = Field(
        0.03, gt=0, le=1, description="nDCG@10 lost on documents about something else that ends the phase; null: never"
    )
    preconvergence: PreConvergence | None = Field(
        None, description="end before all is learned, with hit@1 as judge instead of patience; null: no such rule"
    )


class SelfDistill(Section):
    """m3: what all heads say together teaches each of them."""

    enabled: bool = Field(True, description="whether it does")
    temperature: float = Field(
        0.1, gt=0, le=1, description="of the teaching; at 0.02 the teacher is sure of everything"
    )
    after: float = Field(0.1, ge=0, lt=1, description="share of the steps that pass before it begins")


class Distill(Section):
    """similarity_distill: what is kept near the teacher, and how much each counts."""

    cosine: float = Field(1.0, ge=0, description="the direction of vectors")
    mse: float = Field(1.0, ge=0, description="their place")
    similarity: float = Field(1.0, ge=0, description="how alike the texts of a batch are")
    keep: float = Field(0.25, ge=0, description="the loss m3 of the same rows, beside these")


class Tuning(Section):
    """One training phase of the encoder's own weights."""

    method: Literal[TrainMethod.FULL, TrainMethod.LORA, TrainMethod.QLORA, TrainMethod.AUTOTRAIN] = Field(
        description="what is trained; autotrain: everything, by AutoTrain on the Hub"
    )
    place: str | None = Field(
        None, min_length=1, description="autotrain: a Space's hardware, or the address of an instance that runs"
    )
    loss: LossType = Field(LossType.CONTRASTIVE, description="what is minimised")
    temperature: float = Field(0.05, gt=0, le=1, description="softmax temperature")
    in_batch: bool = Field(True, description="contrastive, m3: whether the documents of other rows are negatives too")
    self_distill: SelfDistill = Field(SelfDistill(), description="m3: what the heads learn from one another")
    distill: Distill = Field(Distill(), description="similarity_distill: what is kept near the teacher")
    negatives: int = Field(1, ge=0, le=32, description="mined negatives used per row, the first ones")
    dimensions: list[Annotated[int, Field(ge=1)]] = Field([], description="shorter vectors trained too (Matryoshka)")
    view: View = Field(View.PLAIN, description="what of the texts is learned from; they are searched as plain texts")
    view_share: float = Field(
        1.0, ge=0, le=1, description="share of the rows that show this view, the others plain texts"
    )
    kinds: Mix = {}
    learning_rate: float | None = Field(
        None, gt=0, description="peak of AdamW's learning rate; when not set: 2e-5, 1e-4 for lora and qlora"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    warmup_steps: int | None = Field(None, ge=0, description="steps in which it rises, instead of a share")
    weighted: bool = Field(True, description="whether rows are drawn by their weight; false: each once in an epoch")
    epochs: int = Field(1, ge=1, description="passes over the rows")
    steps: int | None = Field(None, ge=1, description="optimiser steps, instead of epochs")
    batch_size: int = Field(32, ge=1, description="rows per batch and process")
    accumulate: int = Field(1, ge=1, description="batches per step")
    smaller_below: int | None = Field(
        None, ge=1, description="with fewer rows than this a step takes an eighth of them, 16 to 64; null: never"
    )
    mini_batch: int | None = Field(
        None, ge=1, description="texts encoded at a time, so that large batches fit in memory (gradient caching)"
    )
    max_length: int | None = Field(
        None, ge=8, description="tokens read of a text; when not set: what 95 % of the texts need"
    )
    layers: int | None = Field(
        None, ge=1, description="full: upper layers that learn; all of them and the embeddings when not set"
    )
    lora: Lora = Field(Lora(), description="adapters of lora and qlora")
    stop: Stop = Field(Stop(), description="when the phase ends early")

    def peak(self) -> float:
        """Return the peak of the learning rate."""
        if self.method in (TrainMethod.LORA, TrainMethod.QLORA):
            return self.lora.learning_rate or self.learning_rate or 1e-4
        return self.learning_rate or 2e-5

    def suited_to(self, weights: int) -> Tuning:
        """Return the phase for a base with so many weights: adapters where all of them are too many."""
        too_many = self.lora.above is not None and weights > self.lora.above
        if self.method is not TrainMethod.FULL or not too_many:
            return self
        return self.model_copy(update={"method": TrainMethod.LORA, "layers": None})

    def for_rows(self, rows: int, processes: int = 1) -> Tuning:
        """Return the phase for so many rows: with smaller steps where they are few, in whole batches."""
        if self.smaller_below is None or rows >= self.smaller_below:
            return self
        wanted = min(self.batch_size * self.accumulate * processes, max(FEWEST, min(MOST_OF_FEW, rows // 8)))
        batch = max(1, min(self.batch_size, wanted // processes))
        return self.model_copy(update={"batch_size": batch, "accumulate": max(1, wanted // (batch * processes))})

    def labelled(self) -> bool:
        """Tell whether it learns which document answers a query, and not only what a teacher makes of both."""
        if self.loss is LossType.SIMILARITY_DISTILL:
            return self.distill.keep > 0
        return self.loss is not LossType.LATE_INTERACTION

    @model_validator(mode="after")
    def _fits_autotrain(self) -> Tuning:
        if (self.place is not None) != (self.method is TrainMethod.AUTOTRAIN):
            raise RecipeError(
                f"A phase with the method {self.method} has the place {self.place}; autotrain needs one, no other has.",
                "Set its place to t4-small, or leave it out.",
            )
        if self.method is TrainMethod.AUTOTRAIN:
            given = {"loss": "contrastive", "temperature": 0.05, "in_batch": True, "negatives": 1}
            left = dict.fromkeys(("steps", "mini_batch", "layers", "warmup_steps", "smaller_below"))
            for name, value in (given | {"dimensions": [], "weighted": True} | left).items():
                if getattr(self, name) != value:
                    raise RecipeError(
                        f"AutoTrain knows no {name} but {value}, and a phase of it asks for {getattr(self, name)}.",
                        f"Leave its {name} out, or train with the method full.",
                    )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Tuning:
        if self.loss in (LossType.CONTRASTIVE, LossType.M3) and not self.in_batch and not self.negatives:
            raise RecipeError(
                "A phase with in_batch false and negatives 0 has nothing to tell its positives from.",
                "Set its negatives to 1 or more, or in_batch to true.",
            )
        if self.loss in (LossType.MARGIN_MSE, LossType.DISTILL_KL) and not self.negatives:
            raise RecipeError(f"A phase with the loss {self.loss} needs negatives, but uses 0.", "Set its negatives.")
        if self.dimensions and self.loss in (LossType.M3, LossType.SIMILARITY_DISTILL):
            raise RecipeError(
                f"A phase with the loss {self.loss} trains vectors of one length, but its dimensions name others.",
                "Leave its dimensions out.",
            )
        cached = self.loss is LossType.GIST or (self.loss is LossType.CONTRASTIVE and self.in_batch)
        if self.mini_batch is not None and not cached:
            raise RecipeError(
                "mini_batch is for losses that compare the rows of a batch: contrastive with in_batch, and gist.",
                "Leave mini_batch out and set accumulate: without in-batch negatives it gives the same gradient.",
            )
        return self


def _form_of_phase(value: Any) -> str:
    method = value.get("method") if isinstance(value, Mapping) else getattr(value, "method", None)
    tuned = set(TrainMethod) - {TrainMethod.ADAPTER}
    return "[tuning]" if method in tuned else "[adapter]"


AnyPhase = Annotated[
    Annotated[Phase, Tag("[adapter]")] | Annotated[Tuning, Tag("[tuning]")], Discriminator(_form_of_phase)
]


class Fold(Section):
    """How the trained map is folded into the encoder's last layer, so that every engine serves it."""

    max_documents: int = Field(3_000, ge=1, description="documents the fold is fitted on")
    max_queries: int = Field(2_000, ge=1, description="queries the fold is fitted on")
    batch_size: int = Field(16, ge=1, description="texts per step")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate, decays linearly")
    min_cosine: float = Field(0.99, gt=0, le=1, description="gate: mean cosine to the map on unseen texts")
    max_ndcg_loss: float = Field(0.01, ge=0, description="gate: nDCG@10 the fold may lose against the map")


class Heads(Section):
    """What a text becomes beside its one vector, and how the scores of all of it add up."""

    sparse: bool = Field(False, description="a weight for every token; shared tokens count")
    multi_vector: bool = Field(False, description="a vector for every token; the nearest ones count")
    dimensions: int | None = Field(None, ge=1, description="of the tokens' vectors; as wide as the base's if not set")
    learning_rate: float = Field(1e-4, gt=0, description="peak of the heads' learning rate")
    weights: dict[Head, Annotated[float, Field(ge=0, le=10)]] = Field(
        {Head.DENSE: 1.0, Head.SPARSE: 0.3, Head.MULTI_VECTOR: 1.0}, description="how much the score of each counts"
    )

    def used(self) -> dict[Head, float]:
        """Return the weights of the heads that there are; nothing where there is the one vector alone."""
        wanted = {Head.DENSE: True, Head.SPARSE: self.sparse, Head.MULTI_VECTOR: self.multi_vector}
        if not (self.sparse or self.multi_vector):
            return {}
        return {head: self.weights.get(head, 0.0) for head, is_used in wanted.items() if is_used}


class Train(Section):
    """What is trained, and how far the result moves away from the base."""

    phases: list[AnyPhase] = Field([Phase()], min_length=1, description="training phases, in order")
    strength: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "auto", description="0 is the base, 1 all that was learned; auto is chosen on dev"
    )
    fold: Fold = Field(Fold(), description="folding the map into the weights")
    heads: Heads = Field(Heads(), description="weights and vectors of tokens beside the one vector of a text")
    teacher: str | None = Field(
        None, min_length=1, description="model that gist and the distilling losses listen to; when not set: the base"
    )
    dev_queries: str | None = Field(
        None, min_length=1, description="queries of people with the ids that answer them; they weigh most in choosing"
    )
    checkpoint_seconds: float = Field(180, gt=0, description="time between checkpoints of full, lora and qlora")
    report_to: list[Tracker] = Field([], description="dashboards that full, lora and qlora report to")

    def reads(self) -> tuple[str, ...]:
        """Return what train reads besides the base: another teacher, queries that people asked."""
        wanted = {"teacher": self.teacher, "dev_queries": self.dev_queries}
        return tuple(name for name, value in wanted.items() if value is not None)

    @model_validator(mode="after")
    def _heads_learn_with_the_encoder(self) -> Train:
        others = [str(phase.method) for phase in self.phases if phase.method is not TrainMethod.FULL]
        if self.heads.used() and others:
            raise RecipeError(
                f"train.heads asks for heads, and a phase has the method {others[0]}; they learn in phases of full only.",
                "Leave the heads out, or give every phase the method full.",
            )
        by_heads = [phase.loss for phase in self.phases if isinstance(phase, Tuning) and phase.loss is LossType.M3]
        if by_heads and not self.heads.used():
            raise RecipeError(
                "A phase has the loss m3, which compares by heads, but the model is to have none.",
                "--set train.heads.sparse=true --set train.heads.multi_vector=true, or choose the loss contrastive.",
            )
        return self


class Evaluate(Section):
    """How base and tuned are compared."""

    tasks: list[str] = Field([], description="public tasks of mteb to score as well, for instance NFCorpus")
    benchmark: str | None = Field(None, min_length=1, description='a benchmark of mteb, as "MTEB(Medical, v1)"')
    bootstrap: int = Field(2_000, ge=100, description="resamples of the paired bootstrap and the randomisation test")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of the intervals")


class Export(Section):
    """Which ONNX files are written, and when one is refused."""

    variants: list[Variant] = Field([Variant.FP32, Variant.INT8], description="ONNX files to write")
    max_cosine_distance: float = Field(1e-3, gt=0, description="gate of fp32: largest distance to torch")
    max_ndcg_loss: float = Field(0.01, ge=0, description="gate of every file: nDCG@10 lost against torch")
    sample: int = Field(256, ge=2, description="documents that parity and speed are measured on")


class Words(Section):
    """What a person says on the cards, beside what the run tells; paragraphs, lists and addresses stay what they are."""

    title: str | None = Field(None, min_length=1, max_length=TITLE_LETTERS, description="heading of the model card")
    summary: CardText | None = Field(None, description="what the model is, first on its card")
    intended_use: CardText | None = Field(None, description="what the model is for, and what not")
    limitations: CardText | None = Field(None, description="limits that no test shows, below those that the run found")
    contact: CardText | None = Field(None, description="whom to ask, on both cards")
    dataset_summary: CardText | None = Field(None, description="what the dataset is, first on its card")


class Push(Section):
    """Where results are published."""

    model_repo: RepoId | None = Field(None, description="ORG/NAME of the model on the Hub")
    dataset_repo: RepoId | None = Field(None, description="ORG/NAME of the triplet dataset on the Hub")
    public: bool = Field(False, description="make new repos public")
    pull_request: bool = Field(False, description="open a pull request instead of changing main")
    force: bool = Field(False, description="let a model that is worse than its base go to main")
    collection: bool | RepoId = Field(
        False, description="group model and dataset: ORG/TITLE of a collection, or true for one named as the model"
    )
    words: Words = Field(Words(), description="what a person says on the cards")


class Recipe(Section):
    """Everything about a run."""

    preset: str = Field(DEFAULT_PRESET, description="the preset this recipe started from")
    corpus: str | None = Field(
        None, min_length=1, description="a path, a Hub dataset: org/name[:config][@revision], or hf://datasets/..."
    )
    base: str = Field(DEFAULT_BASE, min_length=1, description="a model folder, or a Hub model: org/name[@revision]")
    encoder: Encoder = Field(Encoder(), description="how the base makes a vector of a text")
    seed: int = Field(42, ge=0, description="seed of everything drawn at random")
    pull: Pull = Pull()
    generate: Generate = Generate()
    mine: Mine = Mine()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    push: Push = Push()

    @model_validator(mode="after")
    def _views_are_made(self) -> Recipe:
        looked_at = {"mine": self.mine.view}
        for number, phase in enumerate(self.train.phases):
            if isinstance(phase, Tuning):
                looked_at[f"train.phases.{number}"] = phase.view
        wanted = [name for name, view in looked_at.items() if view is View.ENTITY_MAP]
        if wanted and self.generate.entity_maps.by is MapWriter.NONE:
            raise RecipeError(
                f"{wanted[0]}.view is {View.ENTITY_MAP}, but nobody makes entity maps.",
                "--set generate.entity_maps.by=auto",
            )
        return self

    def to_yaml(self) -> str:
        """Return the recipe with every default, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class Preset(Section):
    """A recipe that ships with the package: what it is for, and how it differs from the defaults.

    time: how long it takes. paper: where it was published. differs: what is done otherwise than there, and why.
    """

    description: str
    needs: str
    time: str | None = None
    paper: str | None = None
    differs: list[str] = []
    recipe: dict[str, Any] = {}

    def facts(self) -> dict[str, str]:
        """Return what it needs, how long it takes and where it is from, each after its word."""
        said = {"Needs": self.needs, "Takes": self.time, "From": self.paper}
        return {word: text for word, text in said.items() if text is not None}

    def explain(self, name: str) -> list[str]:
        """Return what there is to know of it, a paragraph each."""
        facts = [f"{word} {text}." for word, text in self.facts().items()]
        return [f"{name}: {self.description}", *facts, *(f"Differs from it: {text}." for text in self.differs)]


def load_presets() -> dict[str, Preset]:
    """Return every shipped preset by name."""
    files = sorted(presets_folder().glob("*.yaml"))
    return {file.stem: _validate(Preset, _read_yaml(file), f"preset {file.stem}") for file in files}


def load_preset(name: str) -> Preset:
    """Return one preset; an unknown name is answered with the known ones."""
    presets = load_presets()
    if name not in presets:
        raise RecipeError(
            f"There is no preset '{name}'; allowed: {choices(presets)}. {nearest(name, presets)}".strip(),
            "hfembed presets lists them.",
        )
    return presets[name]


def make_recipe(
    preset: str | None = None,
    file: Path | None = None,
    settings: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Resolve a recipe: defaults, then the preset, then the file, then --set, then options.

    settings: `section.key=value` strings; a number addresses an item of a list.
    options: dotted key to value; values of None are passed over.
    """
    written = _read_yaml(file) if file else {}
    name = preset or str(written.get("preset", DEFAULT_PRESET))
    values: dict[str, Any] = Recipe().model_dump(mode="json")
    merge(values, load_preset(name).recipe)
    merge(values, written)
    values["preset"] = name
    return apply_settings(values, settings, options)


def apply_settings(
    values: dict[str, Any], settings: Iterable[str] = (), options: Mapping[str, Any] | None = None
) -> Recipe:
    """Return the recipe of `values` changed by --set strings and options."""
    for setting in settings:
        _set_one(values, setting, "train.strength=0.5")
    for key, value in (options or {}).items():
        if value is not None:
            set_key(values, key, value)
    return validate_recipe(values, "recipe")


def make_section(model: type[Model], settings: Iterable[str], example: str, hint: str) -> Model:
    """Return settings that are no part of a recipe, changed by --set strings. hint: what lists them all."""
    values = model().model_dump(mode="json")
    for setting in settings:
        _set_one(values, setting, example)
    return _validate(model, values, "list of settings", hint)


def _set_one(values: dict[str, Any], setting: str, example: str) -> None:
    key, found, text = setting.partition("=")
    if not found or not key:
        raise RecipeError(f"--set needs section.key=value, got '{setting}'.", f"Example: --set {example}")
    if key.strip() == "preset":
        raise RecipeError("The preset cannot be changed by --set.", "Choose it with --preset NAME.")
    set_key(values, key.strip(), _parse_value(setting, text))


def validate_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the validated recipe, or raise with the field, the value and what is allowed."""
    return _validate(Recipe, values, where)


def read_recipe(file: Path) -> Recipe:
    """Read a resolved recipe, as a run keeps it."""
    return validate_recipe(_read_yaml(file), str(file))


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write nested changes over values, in place; dictionaries merge, everything else replaces."""
    for key, change in changes.items():
        if isinstance(change, Mapping) and isinstance(values.get(key), dict):
            merge(values[key], change)
        else:
            values[key] = change


def set_key(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one dotted key in place; steps through lists by number."""
    target: Any = values
    *parents, last = dotted.split(".")
    for part in parents:
        target = _step(target, part, dotted)
    if isinstance(target, list):
        _step(target, last, dotted)
        target[int(last)] = value
    elif isinstance(target, dict):
        if isinstance(target.get(last), dict) and isinstance(value, Mapping):
            merge(target[last], value)
        else:
            target[last] = value
    else:
        raise RecipeError(f"'{dotted}' does not name a setting: '{parents[-1]}' holds a single value.")


def _step(target: Any, part: str, dotted: str) -> Any:
    if isinstance(target, list):
        if part.isascii() and part.isdecimal() and int(part) < len(target):
            return target[int(part)]
        raise RecipeError(f"'{part}' in '{dotted}' must be a number below {len(target)}: it addresses a list.")
    if isinstance(target, dict) and part in target:
        return target[part]
    known = list(target) if isinstance(target, dict) else []
    raise RecipeError(f"Unknown key '{part}' in '{dotted}'; allowed: {choices(known)}. {nearest(part, known)}".strip())


def _parse_value(setting: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value in --set {setting} is not valid YAML.") from error
    # YAML reads 1e-4 as text because it has no dot; people write it everywhere.
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe file '{file}'.", "hfembed presets instant > recipe.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"'{file}' cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RecipeError(f"'{file}' must hold keys and values, but it holds a {type(content).__name__}.")
    return content


def _validate(
    model: type[Model], values: Mapping[str, Any], where: str, hint: str = "hfembed presets instant shows every key."
) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[dict[str, Any]]] = {}
        for problem in error.errors():
            problems.setdefault(".".join(map(str, _location(problem))), []).append(dict(problem))
        sentences = [_sentence(model, key, found) for key, found in problems.items()]
        raise RecipeError(f"The {where} is not valid: " + " ".join(sentences), hint) from None


def _location(problem: Mapping[str, Any]) -> list[str | int]:
    # Members of a union and keys of a dictionary put tags into the location that nobody typed.
    tags = ("literal['auto']", "constrained-float", "[key]", "[adapter]", "[tuning]")
    return [part for part in problem["loc"] if part not in tags]


def _sentence(model: type[BaseModel], key: str, problems: list[dict[str, Any]]) -> str:
    first = problems[0]
    if first["type"] == "extra_forbidden":
        *parents, last = first["loc"]
        known = _known_keys(model, parents)
        return f"unknown key '{key}'; allowed: {choices(known)}. {nearest(str(last), known)}".strip()
    rules = [_rule(problem) for problem in problems]
    guess = next((found for problem in problems if (found := _nearest_choice(problem, problem["input"]))), "")
    return f"'{key}' is {_shown(first['input'])}, but must be {' or '.join(rules)}. {guess}".strip()


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN_LETTERS else f"{shown[:SHOWN_LETTERS]}…"


def _rule(problem: Mapping[str, Any]) -> str:
    words = {
        "string_pattern_mismatch": "of the form ORG/NAME",
        "too_short": "a list with at least one item",
        "model_type": "a group of keys and values",
    }
    if problem["type"] == "string_too_long":
        return f"at most {problem['ctx']['max_length']:,} characters long"
    return words.get(problem["type"], str(problem["msg"]).removeprefix("Input should be "))


def _nearest_choice(problem: dict[str, Any], seen: Any) -> str:
    expected = str(problem.get("ctx", {}).get("expected", ""))
    allowed = [part.strip("' ") for part in expected.replace(" or ", ", ").split(",")]
    return nearest(seen, allowed) if isinstance(seen, str) and expected else ""


def _known_keys(model: type[BaseModel], location: list[Any]) -> list[str]:
    current: Any = model
    for part in location:
        if part in ("[adapter]", "[tuning]"):
            current = Phase if part == "[adapter]" else Tuning
        elif not isinstance(part, int):
            current = current.model_fields[part].annotation
            current = next((arg for arg in get_args(current) if isinstance(arg, type)), current)
    return list(current.model_fields)

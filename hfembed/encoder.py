"""Encoder: a transformer and what makes one vector of a text: prompts, the end of a text, pooling, length, similarity.

What sentence-transformers wrote says all that by itself, and a recipe may change it. A plain causal language model
says nothing of it. It reads from left to right, so only its last token has seen the whole text: that token is an
end of text of its own, which is appended to every text, and its vector is taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfembed.errors import ModelError
from hfembed.recipe import Encoder, Similarity, TokenPooling

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

INSTRUCTION = "{instruction}"
# What sentence-transformers calls a text's vector.
EMBEDDING = "sentence_embedding"
# How a causal language model becomes an encoder where nobody says otherwise (BMRetriever, arXiv:2404.18443).
DECODER = Encoder(
    pooling=TokenPooling.LAST,
    normalize=False,
    similarity=Similarity.DOT,
    max_length=512,
    instruction="Given a search query, retrieve passages that answer it",
    query_prompt=f"{INSTRUCTION}\nQuery: ",
    document_prompt="Represent this passage\npassage: ",
)
# A config with one of these turns positions instead of adding them: what counts is how far tokens stand apart.
ROTARY = ("rope_theta", "rope_parameters", "rope_scaling", "rotary_pct", "rotary_dim")
TEMPLATE = "TemplateProcessing"
CHECKED, ALONE = 64, 8
# A text gives the same vector alone and beside longer ones; less than this is another text.
LEAST_COSINE = 0.999


def open_encoder(folder: Path, settings: Encoder, **options: Any) -> SentenceTransformer:
    """Load a model of a folder for use as the settings say. options: of the transformer alone."""
    from sentence_transformers import SentenceTransformer

    is_plain = is_decoder(folder)
    model = SentenceTransformer(str(folder), trust_remote_code=False, model_kwargs={"use_safetensors": True, **options})
    if is_plain:
        settings = DECODER.model_copy(update=settings.model_dump(exclude_none=True))
    return shaped(model, settings) if settings != Encoder() else model


def is_decoder(folder: Path) -> bool:
    """Tell whether a folder is a plain causal language model: sentence-transformers did not write it."""
    return not (folder / "modules.json").is_file() and reads_one_way(folder)


def reads_one_way(folder: Path) -> bool:
    """Tell whether the transformer of a folder reads from left to right only."""
    config = folder / "config.json"
    if not config.is_file():
        return False
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    # Encoders such as BERT can be cut to read in one direction, too; what fills in masks reads in both.
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def shaped(model: SentenceTransformer, settings: Encoder) -> SentenceTransformer:
    """Return the model with other pooling, lengths, similarity and prompts, where they are set."""
    from sentence_transformers import SentenceTransformer, models

    modules = list(model)
    if settings.pooling is not None:
        pooling = models.Pooling(
            int(model[0].auto_model.config.hidden_size), str(settings.pooling), include_prompt=pools_prompts(model)
        )
        modules = [modules[0], pooling, *(module for module in modules[1:] if not _is(module, "Pooling"))]
    if settings.normalize is not None:
        modules = [module for module in modules if not _is(module, "Normalize")]
        modules += [models.Normalize()] if settings.normalize else []
    made = SentenceTransformer(
        modules=modules,
        device=str(model.device),
        prompts={**model.prompts, **_prompts(settings)},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=str(settings.similarity or model.similarity_fn_name),
    )
    if settings.max_length is not None:
        made.max_seq_length = min(settings.max_length, positions_of(model) or settings.max_length)
    if settings.pooling is TokenPooling.LAST:
        _end_texts(made)
    if settings.pool_prompt is not None:
        _pool_prompts(made, settings.pool_prompt)
    return made


def positions_of(model: SentenceTransformer) -> int | None:
    """Return how many tokens of a text the transformer can read; nothing where its config sets no end.

    MPNet and RoBERTa count positions from behind that of padding: with 514 of them they read 512 tokens.
    """
    transformer = model[0].auto_model
    positions = getattr(transformer.config, "max_position_embeddings", None)
    table = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return int(positions) - (padding + 1 if padding is not None else 0) if positions else None


def keeps_lengths(model: SentenceTransformer) -> bool:
    """Tell whether vectors are compared by dot product with the lengths that the model gives them."""
    return model.similarity_fn_name == Similarity.DOT and not any(_is(module, "Normalize") for module in model)


def pools_prompts(model: SentenceTransformer) -> bool:
    """Tell whether the tokens of a prompt count in a text's vector, as those of the text do."""
    return all(getattr(module, "include_prompt", True) for module in model if _is(module, "Pooling"))


def lost_ends(model: SentenceTransformer, texts: Sequence[str]) -> str | None:
    """Return what is wrong with how a model that takes the last token's vector ends its texts; None where nothing is.

    Looked at are short texts, and the same so often repeated that they are cut.
    """
    if not _takes_last(model) or not texts:
        return None
    drawn = list(texts[:: max(1, len(texts) // CHECKED)][:CHECKED])
    longer = [f"{text} " * (2 + model.max_seq_length // max(1, len(text.split()))) for text in drawn[:ALONE]]
    lost = sum(
        end != model.tokenizer.convert_tokens_to_ids(_end_of(model.tokenizer))
        for end in last_tokens(model, [*drawn, *longer])
    )
    if lost:
        return (
            f"{lost} of {len(drawn) + len(longer)} texts do not end in the end-of-text token as the model reads them, "
            "whose vector is taken. --set encoder.pooling=lasttoken appends it, also where a text is cut"
        )
    moved = padding_cosine(model, drawn[:ALONE])
    if moved < LEAST_COSINE:
        return (
            f"A text beside longer ones gives another vector than alone (cosine {moved:.4f}): padding moves its "
            "positions. Pad on the right: padding_side in the base's tokenizer_config.json"
        )
    return None


def last_tokens(model: SentenceTransformer, texts: Sequence[str]) -> list[int]:
    """Return the last token of each text that is not padding, as the model reads it."""
    read = tokens_of(model, texts)
    last = [int(np.flatnonzero(mask)[-1]) for mask in read["attention_mask"].cpu().numpy()]
    return [int(ids[at]) for ids, at in zip(read["input_ids"].tolist(), last, strict=True)]


def padding_cosine(model: SentenceTransformer, texts: Sequence[str]) -> float:
    """Return the least cosine between a text's vector alone and in a batch with longer ones."""
    import torch

    def vectors(batch: Sequence[str]) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(tokens_of(model, batch))["sentence_embedding"].float()
        return found

    alone = torch.cat([vectors([text]) for text in texts])
    return float(torch.cosine_similarity(alone, vectors(texts), dim=1).min())


def tokens_of(model: SentenceTransformer, texts: Sequence[str], prompt: str = "") -> dict[str, Any]:
    """Return texts as the model reads them after a prompt, on its device."""
    from sentence_transformers.util import batch_to_device

    # sentence-transformers 6 calls it preprocess, 5 calls it tokenize.
    prepare = model.preprocess if hasattr(model, "preprocess") else model.tokenize
    features: dict[str, Any] = batch_to_device(prepare([prompt + text for text in texts]), model.device)
    if prompt and not pools_prompts(model):
        # The text's own tokens begin where the prompt's end; what closes a text does not close a prompt.
        ids = prepare([prompt])["input_ids"][0]
        features["prompt_length"] = len(ids) - (int(ids[-1]) in model.tokenizer.all_special_ids)
    return features


def _prompts(settings: Encoder) -> dict[str, str]:
    found = {"query": settings.query_prompt, "document": settings.document_prompt}
    instruction = settings.instruction or ""
    return {role: text.replace(INSTRUCTION, instruction) for role, text in found.items() if text is not None}


def _end_texts(model: SentenceTransformer) -> None:
    """Have the tokenizer append the end of text after it has cut a text, and write so into its files."""
    tokenizer, config = model.tokenizer, model[0].auto_model.config
    if _end_of(tokenizer) is None:
        raise ModelError(
            "The base's tokenizer has no end-of-text token, whose vector is to stand for a text.",
            "Choose another --base, or --set encoder.pooling=mean.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _end_of(tokenizer)
    # On the left the last token stands at the end of every row, where simple readers look for it; but a model that
    # adds positions would give a text others there.
    side = "left" if any(getattr(config, name, None) is not None for name in ROTARY) else "right"
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side
    config.use_cache = False  # nothing is generated
    if _ends(tokenizer):
        return
    if hasattr(tokenizer, "add_eos_token"):
        # These make their own ending anew whenever they are loaded, by what is written under this name.
        tokenizer.add_eos_token = tokenizer.init_kwargs["add_eos_token"] = True
    if not _ends(tokenizer):
        _append_end(tokenizer)


def _end_of(tokenizer: Any) -> str | None:
    """Return the token that a text ends in; BERT's name for it is another."""
    end: str | None = tokenizer.eos_token or tokenizer.sep_token
    return end


def _ends(tokenizer: Any) -> bool:
    return bool(tokenizer("a text")["input_ids"][-1] == tokenizer.convert_tokens_to_ids(_end_of(tokenizer)))


def _append_end(tokenizer: Any) -> None:
    """Write the end into what the tokenizer puts around a text.

    As a step of its own after another one it would be lost wherever a text is cut: both must be one template.
    """
    from tokenizers import Tokenizer, models

    if not tokenizer.is_fast:
        raise ModelError("The base's tokenizer has no tokenizer.json, so no end of text can be appended.")
    backend, end = tokenizer.backend_tokenizer, _end_of(tokenizer)
    bare = Tokenizer(models.BPE())  # as JSON a processor is read and written with its tokenizer only
    if backend.post_processor is not None:
        bare.post_processor = backend.post_processor
    written = json.loads(bare.to_str())
    steps = [written["post_processor"]] if written["post_processor"] else []
    steps = steps[0]["processors"] if steps and steps[0]["type"] == "Sequence" else steps
    template = next((step for step in steps if step["type"] == TEMPLATE), None)
    if template is None:
        texts = [{"Sequence": {"id": name, "type_id": at}} for at, name in enumerate("AB")]
        template = {"type": TEMPLATE, "single": texts[:1], "pair": texts, "special_tokens": {}}
        steps.append(template)
    for form in ("single", "pair"):
        template[form].append({"SpecialToken": {"id": end, "type_id": 0}})
    template["special_tokens"][end] = {"id": end, "ids": [tokenizer.convert_tokens_to_ids(end)], "tokens": [end]}
    written["post_processor"] = {"type": "Sequence", "processors": steps}
    backend.post_processor = Tokenizer.from_str(json.dumps(written)).post_processor


def _pool_prompts(model: SentenceTransformer, included: bool) -> None:
    """Have prompts count in the mean, or not."""
    for module in model:
        if not _is(module, "Pooling"):
            continue
        if not included and _mode_of(module) != TokenPooling.MEAN:
            raise ModelError(
                f"encoder.pool_prompt is false, but the base's pooling is {_mode_of(module)}: only a mean can leave tokens "
                "out.",
                "--set encoder.pooling=mean, or leave encoder.pool_prompt out.",
            )
        module.include_prompt = included


def _mode_of(pooling: Any) -> str:
    """Return how tokens' vectors become one; sentence-transformers 5.4 replaced a flag for each mode by one name."""
    mode = getattr(pooling, "pooling_mode", None)
    if mode is not None:
        return str(mode)
    flags = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "lasttoken"}
    found = [name for flag, name in flags.items() if getattr(pooling, flag, False)]
    return found[0] if len(found) == 1 else "of another kind"


def _takes_last(model: SentenceTransformer) -> bool:
    pooling = next((module for module in model if _is(module, "Pooling")), None)
    return pooling is not None and _mode_of(pooling) == TokenPooling.LAST


def _is(module: Any, name: str) -> bool:
    # sentence-transformers moves its classes between modules from version to version.
    return type(module).__name__ == name

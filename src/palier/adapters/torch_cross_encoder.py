"""The reranker as torch sees it, and its way out: the first layers of a BERT encoder, one logit from [CLS], int8 ONNX.

Knows tokens and weights; which pairs are trained on, and against which marks, is decided by who trains. Only the
first token's state is read, so the last layer computes it alone: the result is the same and most of a layer's time
is saved, in training as in serving. Dropout of attention is off: with it torch leaves the fused attention
and a step takes thrice as long.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertModel

from palier.adapters.int8_export import write_int8
from palier.adapters.low_rank import merge_pressed
from palier.adapters.onnx_cross_encoder import CONFIG, MAX_TOKENS, CrossEncoderConfig
from palier.adapters.torch_encoder import STARTER_FILE
from palier.adapters.workspace import write_json
from palier.errors import IntegrityError, ParamsError

OUTPUTS = ("logits",)


class CrossEncoder(nn.Module):  # type: ignore[misc] # torch comes without types here
    """Encoder layers and a linear head over the first token's last state."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(int(encoder.config.hidden_size), 1)

    @property
    def n_layers(self) -> int:
        return len(self.encoder.encoder.layer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits, float32 of shape (batch,); inputs are of shape (batch, tokens)."""
        states = self.encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        seen = attention_mask[:, None, None, :].bool()  # (batch, heads, asking token, token)
        *layers, last = self.encoder.encoder.layer
        for layer in layers:
            states = layer(states, seen)
        return self.head(_first_state(last, states, seen)).squeeze(-1).float()


def _first_state(layer: nn.Module, states: Tensor, seen: Tensor) -> Tensor:
    """What ``layer`` makes of the first token, (batch, hidden): all tokens are looked at, one is computed."""
    attention, first = layer.attention.self, states[:, :1]
    query, key, value = (
        projected.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for projected in (attention.query(first), attention.key(states), attention.value(states))
    )  # each (batch, heads, tokens, size)
    context = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), first)
    return layer.output(layer.intermediate(attended), attended)[:, 0]


def bare_cross_encoder(base: Path, n_layers: int, seed: int, *, dropout: float = 0.0) -> CrossEncoder:
    """A reranker on the first ``n_layers`` layers of the encoder in ``base``; the head starts from ``seed``;
    ``dropout`` is that of states.

    Raises ParamsError when the encoder has fewer layers.
    """
    encoder = BertModel.from_pretrained(
        base,
        add_pooling_layer=False,
        attn_implementation="sdpa",  # the only one that takes a mask of truths
        dtype=torch.float32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
    )
    layers = encoder.encoder.layer
    if not 1 <= n_layers <= len(layers):
        raise ParamsError(f"A reranker of {n_layers} layers cannot be cut from {base}: it has {len(layers)}.")
    encoder.encoder.layer, encoder.config.num_hidden_layers = layers[:n_layers], n_layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CrossEncoder(encoder)


def starter_cross_encoder(base: Path, starter: Path) -> CrossEncoder:
    """The first layers of ``base`` with the pressed change in ``starter``, whose config says how many layers.

    Raises IntegrityError when the starter was made for another base.
    """
    config = CrossEncoderConfig.model_validate_json((starter / CONFIG).read_text(encoding="utf-8"))
    model = bare_cross_encoder(base, config.layers, seed=0)
    try:
        merge_pressed(model.state_dict(), load_file(starter / STARTER_FILE))
    except (KeyError, RuntimeError) as error:
        problem = IntegrityError(f"{starter / STARTER_FILE} does not fit the base {base}: {error}")
        raise problem from error
    return model


def export_cross_encoder(
    model: CrossEncoder,
    tokenizer_source: Path,
    folder: Path,
    *,
    max_tokens: int = MAX_TOKENS,
    float_too: bool = False,
) -> None:
    """Write ``folder`` (made if absent): `model.onnx` (int8), `tokenizer.json`, `config.json`.

    ``tokenizer_source`` is a folder with a
    `tokenizer.json`. With ``float_too`` the model before rounding is kept as `FLOAT_MODEL`, to compare with.
    """
    write_int8(model, OUTPUTS, tokenizer_source, folder, float_too=float_too)
    write_json(folder / CONFIG, CrossEncoderConfig(max_tokens=max_tokens, layers=model.n_layers).model_dump())

"""llama.cpp as a peer, through xllamacpp: the same weights, written as GGUF, at equal precision.

One slot decodes everything in turn, or each branch has a slot of its own. All slots hold the prompt
before the clock starts, and a branch follows the prompt alone: it is spared the trunk's tokens.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pbranch.errors import ModelError
from pinfer.bench.engine_arm import Sample, Step
from pinfer.bench.models import vocabulary
from pinfer.bench.suite import Settings
from pinfer.bench.timing import ZERO, now, since
from pinfer.bench.transformers_arms import Arm
from pinfer.bench.workload import Workload

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def make_llamas(settings: Settings) -> list[Callable[[Any, Settings], Arm]]:
    """Makers of both arms; none, and a line that says why, where a package is missing."""
    if missing := [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]:
        print(f"llama.cpp: skipped, as {' and '.join(missing)} cannot be imported")
        return []
    slots = max(*settings.branches, len(settings.lengths))
    servers: list[Server] = []  # one for both arms

    def server(model: Any) -> "Server":
        if not servers:
            servers.append(Server(model, settings, slots))
        return servers[0]

    return [
        lambda model, _: Llama(server(model), False, "llama.cpp"),
        lambda model, _: Llama(server(model), True, "llama.cpp slots"),
    ]


class Server:
    """llama.cpp's server in this process, over a model's weights."""

    def __init__(self, model: Any, settings: Settings, slots: int) -> None:
        import xllamacpp

        self.words, self.seed, self.slots = vocabulary(model), settings.seed, slots
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "model.gguf"
        write_gguf(model, path)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = slots * (settings.prompt + 2048)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
        kind = "F32" if settings.dtype == "float32" else "BF16"
        cache = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind}")
        params.cache_type_k = params.cache_type_v = cache
        params.verbosity = -1
        self.server = xllamacpp.Server(params)
        self.warm = 0  # length of the prompt that all slots hold
        if settings.dtype == "float32":
            self.agree(model)

    @torch.inference_mode()
    def agree(self, model: Any) -> None:
        """ModelError unless the first token behind a prompt is the one that `model` gives."""
        prompt = list(range(3, 35))
        expected = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        found = self.complete(0, prompt, 1)["choices"][0]["text"]
        if found != f"t{expected}":
            raise ModelError(f"llama.cpp draws {found!r} first, expected 't{expected}'")

    def complete(self, slot: int, prompt: Sequence[int], count: int) -> dict[str, Any]:
        """`count` tokens behind a prompt, in a slot."""
        answer = self.server.handle_completions(
            {
                "prompt": list(prompt),
                "n_predict": count,
                "id_slot": slot,
                "cache_prompt": True,
                "ignore_eos": True,
                "temperature": 0,
            }
        )
        made = answer["timings"]["predicted_n"]
        assert made == count, f"llama.cpp made {made} tokens, asked for {count}"
        return answer

    def prepare(self, workload: Workload) -> list[int]:
        """The prompt of a workload, which all slots hold from now on."""
        prompt = workload.prompt_ids(self.words, self.seed)
        if self.warm != workload.prompt:
            for slot in range(self.slots):
                self.complete(slot, prompt, 1)
            self.warm = workload.prompt
        return prompt


class Llama:
    """An arm: one slot, or a slot a branch."""

    def __init__(self, server: Server, wide: bool, name: str) -> None:
        self.server, self.wide, self.name = server, wide, name

    def refusal(self, workload: Workload) -> str | None:
        """One request, one prompt at a time; side by side, no nested forks."""
        if len(workload.lines) > 1:
            return "one request"
        if workload.warm:
            return "prompts are not kept"
        return "no nested forks" if workload.line.nested and self.wide else None

    def run(self, workload: Workload) -> Sample:
        """Decode behind a cached prompt."""
        prompt, line = self.server.prepare(workload), workload.line
        begin = now()
        if not self.wide:
            self.server.complete(0, prompt, line.sampled)
            took = since(begin)
            return Sample(ZERO, took, line.sampled, usual(line.sampled, took, 1))
        steps: list[Step] = []
        with ThreadPoolExecutor(self.server.slots) as pool:
            for part in (part for part in line.parts if part):
                start = now()
                if isinstance(part, int):
                    self.server.complete(0, prompt, part)
                    steps += usual(part, since(start), 1)
                    continue
                counts = [inner.sampled for inner in part]
                list(pool.map(self.server.complete, range(len(part)), [prompt] * len(part), counts))
                steps += usual(max(counts), since(start), len(part))
        return Sample(ZERO, since(begin), line.sampled, tuple(steps))


def usual(count: int, took: Any, width: int) -> tuple[Step, ...]:
    """A call's time as so many equal steps: the server tells no more."""
    one = type(took)(took.cpu / count, took.wall / count)
    return (Step(width, width, width > 1, one, one),) * count


def write_gguf(model: Any, path: Path) -> None:
    """The weights of a Qwen2 or Qwen3 model; its tokens are named by their numbers."""
    import gguf

    config = model.config
    kind = config.model_type
    out = gguf.GGUFWriter(str(path), kind)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "qwen3":
        out.add_key_length(config.head_dim)
        out.add_value_length(config.head_dim)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    out.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)
    out.add_token_merges(["t 0"])
    out.add_eos_token_id(config.vocab_size - 1)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        plain = weight.dtype == torch.float32 or weight.dim() == 1  # norms and biases stay float32
        if plain:
            out.add_tensor(gguf_name(name), weight.float().numpy())
        else:
            bits = weight.view(torch.int16).numpy().view(np.uint8)
            out.add_tensor(gguf_name(name), bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def gguf_name(name: str) -> str:
    """What llama.cpp calls a tensor of transformers."""
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, kind = name.rsplit(".", 1)
    if stem in whole:
        return f"{whole[stem]}.{kind}"
    _, _, layer, inner = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[inner]}.{kind}"

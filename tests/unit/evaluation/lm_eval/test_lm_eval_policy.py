"""What lm-eval's back ends are asked is what the policy reads in larpo's own sampling."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from small_models import CHATML, GEMMA, LLAMA3, make_model, make_tokenizer

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.evaluation.lm_eval.policy import Policy
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir

TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>", ("<|im_start|>",)),
    "llama3": (LLAMA3, "<|eot_id|>", ("<|start|>", "<|end|>")),
    "gemma": (GEMMA, "<eos>", ("<start_of_turn>", "<end_of_turn>")),
}
ASKED = [{"role": "user", "content": "hello world ?"}]
SYSTEM = [{"role": "system", "content": "hello"}, *ASKED]


def asked(tmp_path: Path, template: str, stops: tuple[str, ...] = ()) -> tuple[Policy, ModelDir]:
    make_model("llama").save_pretrained(tmp_path)
    make_tokenizer(*TEMPLATES[template]).save_pretrained(tmp_path)
    source = ModelDir(tmp_path, ModelConfig(device="cpu", stop_tokens=stops))
    settings = LmEvalConfig.model_validate({"tasks": ["t"], "sampler": {"type": "hf", "batch_size": 2}})
    return Policy(source, settings, 64), source


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_is_token_for_token_that_of_training(template: str, tmp_path: Path) -> None:
    """Also where the tokenizer would add a bos token that the template does not write."""
    policy, source = asked(tmp_path, template)
    backend = policy._opened()
    text = policy.apply_chat_template(ASKED)
    ids, _ = backend.tok_batch_encode([text])
    assert ids[0].tolist() == backend.tok_encode(text) == prompt_ids(source.tokenizer, ASKED)
    assert backend.model.generation_config.eos_token_id == source.stop_ids


def test_a_system_message_that_the_template_refuses_is_left_out_and_counted(tmp_path: Path) -> None:
    policy, _ = asked(tmp_path, "gemma")
    assert policy.apply_chat_template(SYSTEM) == policy.apply_chat_template(ASKED)
    assert policy.refused == 1
    with pytest.raises(ModelError, match="the chat template refuses"):
        policy.apply_chat_template(SYSTEM[:1])


def test_a_response_that_is_begun_goes_on_in_its_turn(tmp_path: Path) -> None:
    policy, _ = asked(tmp_path, "chatml")
    begun: Any = [*ASKED, {"role": "assistant", "content": "1 2"}]
    text = policy.apply_chat_template(begun, add_generation_prompt=False)
    assert text == "<|im_start|>user hello world ?<|im_end|><|im_start|>assistant 1 2"


def test_a_token_that_ends_a_response_is_no_part_of_it_though_it_is_no_special_one(tmp_path: Path) -> None:
    policy, _ = asked(tmp_path, "chatml", ("world", "<|im_end|>"))
    request = Instance("generate_until", {}, ("hello", {"until": ["?"], "max_gen_toks": 20}), 0, ("t", 0, 1))
    assert policy._asked("generate_until", request, 0).args[1]["until"] == ["?", "world"]
    (text,) = policy.generate_until([request])
    assert "world" not in text

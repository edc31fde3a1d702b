"""What published data sets call the roles of a row, the likeliest name first."""

import re

# in lower case, words joined by `_`; the order is the order of trust
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat",
            "contents")  # fmt: skip
PROMPTS = ("prompt", "question", "problem", "instruction", "query", "input", "task",
           "problem_text", "problem_statement", "question_text", "question_content",
           "formatted_question", "formated_question", "open_ended_verifiable_question",
           "user_prompt", "user", "human", "turns", "text", "问题", "题目", "指令")  # fmt: skip
# a model's answer, or a reference that is written out
STRONG = ("completion", "normal_response", "generated_solution", "response", "solution", "output",
          "generation")  # fmt: skip
WRITTEN = ("generated_text", "generated_answer", "model_output", "model_response", "model_answer",
           "model_generation", "gen_ans", "raw_output", "raw_response", "full_response",
           "llm_response", "llm_output", "assistant", "assistant_response", "reply", "completions",
           "responses", "outputs", "generations", "choices", "candidates", "resps", "chosen",
           "chosen_response", "trace", "code", "solutions", "回答", "回复", "输出", "解答",
           "answer")  # fmt: skip
THOUGHTS = ("complex_cot", "cot", "chain_of_thought", "reasoning_trace", "reasoning_steps", "steps",
            "reason", "thoughts", "thought")  # fmt: skip
REASONING = ("reasoning_content", "reasoning", "thinking", "think")
REFERENCES = ("rationale", "explanation", "analysis", "reference", "reference_answer",
              "reference_solution", "std_answer", "standard_answer", "canonical_solution", "ideal",
              "gt_cot", "gt_solution", "target", "answers", "解析")  # fmt: skip
COMPLETIONS = (*STRONG, *WRITTEN, *THOUGHTS, *REASONING, *REFERENCES)
# a bare answer in one data set, a whole one in another
SHORT_OR_LONG = ("answer", "model_answer", "generated_answer", *REFERENCES)
# the gold answer; what a model has answered (`pred`, `parsed_answer`) is none
GOLD = ("gold_keys", "gold", "gold_answer", "expected_answer", "ground_truth",
        "ground_truth_answer", "ground_true_answer", "groundtruth", "gt", "gt_answer",
        "true_answer", "actual_answer", "actual_answer_label", "correct_answer", "correct_option",
        "correct_choice", "right_answer", "reference_answer", "ref_answer", "standard_answer",
        "std_answer", "answer_key", "correct", "answer", "final_answer", "answer_number",
        "answer_latex", "target", "label", "reference", "solution", "answers", "标准答案",
        "答案")  # fmt: skip
CONTEXTS = ("input", "context", "passage", "输入")
SYSTEMS = ("system", "system_prompt")
# says whether the model's answer is right: beside it, `answer` may be the model's
VERDICTS = ("correct", "is_correct", "passed", "is_right", "score", "accuracy")
# an answer that nobody should learn
REJECTED = ("rejected", "rejected_response", "conversation_b", "response_b", "worse", "loser")


def name_of(key: str) -> str:
    """The name of a key or of the end of its path: `Ground-True Answer` → `ground_true_answer`,
    `generatedText` → `generated_text`, `row.question` → `question`."""
    last = key.rpartition(".")[2] or key
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+", last)
    plain = "_".join(words).lower()
    return {"complex_co_t": "complex_cot", "co_t": "cot"}.get(plain, plain)
